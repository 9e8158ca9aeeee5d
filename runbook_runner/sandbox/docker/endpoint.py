"""Docker sandbox: which engine is meant, as the docker command finds it: the environment, else a context, else the
usual socket. Asks nobody anything.

DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, DOCKER_CONTEXT and DOCKER_CONFIG mean what they mean to that command.
"""

import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.invalid import problem_of

DEFAULT_SOCKET: Final = "/var/run/docker.sock"
_DEFAULT_CONTEXT: Final = "default"
_SCHEMES: Final = ("unix", "tcp", "http", "https", "ssh")
_PORTS: Final = {False: 2375, True: 2376}  # without TLS, with it


@dataclass(frozen=True)
class Tls:
    ca: Path | None
    certificate: Path | None
    """Ours, for an engine that asks who we are; with `key`."""
    key: Path | None
    verify: bool
    """Whether the engine must prove who it is."""

    def context(self) -> ssl.SSLContext:
        """Raises OSError when a file does not hold what it should."""
        made = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if self.certificate and self.key:
            made.load_cert_chain(self.certificate, self.key)
        return made


@dataclass(frozen=True)
class Endpoint:
    url: str
    """As its user wrote it."""
    tls: Tls | None = None
    origin: str = ""
    """What named it: `DOCKER_HOST`, `the context NAME`; empty: nothing, it is the usual socket."""

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def socket_path(self) -> str:
        """Of a unix socket of this machine; of `ssh`, on the machine it leads to; else empty."""
        if self.scheme == "unix":
            return self.url.removeprefix("unix://")
        return (urlsplit(self.url).path.rstrip("/") or DEFAULT_SOCKET) if self.scheme == "ssh" else ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, of what has one."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORTS[self.tls is not None]


def dial(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    """A connection to an engine behind a unix socket or TCP, with TLS when it asks for that. Raises OSError."""
    if endpoint.socket_path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(endpoint.socket_path)
        except OSError:
            connection.close()
            raise
        return connection
    connection = socket.create_connection(endpoint.address, timeout_s)
    if endpoint.tls is None:
        return connection
    try:
        return endpoint.tls.context().wrap_socket(connection, server_hostname=endpoint.address[0])
    except OSError:
        connection.close()
        raise


def find_endpoint() -> Endpoint:
    """Raises InputError for what is no address of an engine, NotReadyError for a context that is not there."""
    if host := os.environ.get("DOCKER_HOST", "").strip():
        return _checked(_with_scheme(host), _tls_of_environment(), "DOCKER_HOST")
    name = os.environ.get("DOCKER_CONTEXT") or _current_context()
    if name == _DEFAULT_CONTEXT:
        return Endpoint(f"unix://{DEFAULT_SOCKET}")
    return _of_context(name)


def _with_scheme(host: str) -> str:
    """`10.0.0.5:2375` is TCP, `/run/x.sock` a socket."""
    if "://" in host:
        return host
    return f"unix://{host}" if host.startswith("/") else f"tcp://{host}"


def _checked(url: str, tls: Tls | None, origin: str) -> Endpoint:
    endpoint = Endpoint(url, tls, origin)
    if not _is_address(url):
        raise InputError(
            f"{url!r} is no address of a Docker engine.",
            where=origin,
            hint="Write unix:///var/run/docker.sock, tcp://HOST:2376 or ssh://USER@HOST.",
        )
    return endpoint


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return not parts.netloc and len(parts.path) > 1
    return parts.scheme in _SCHEMES and bool(parts.hostname)


def _tls_of_environment() -> Tls | None:
    folder, verify = os.environ.get("DOCKER_CERT_PATH"), bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not folder and not verify:
        return None
    return _tls_in(Path(folder) if folder else _config_folder(), verify=verify)


def _tls_in(folder: Path, *, verify: bool) -> Tls:
    found = {name: path if (path := folder / f"{name}.pem").is_file() else None for name in ("ca", "cert", "key")}
    return Tls(found["ca"], found["cert"], found["key"], verify)


_Shape = TypeVar("_Shape", bound=BaseModel)

# --- contexts --------------------------------------------------------------------------------------------------------


class _Configuration(BaseModel):
    """`config.json`, as far as it matters here."""

    model_config = ConfigDict(extra="ignore")
    current: str | None = Field(None, alias="currentContext")


class _Docker(BaseModel):
    host: str | None = Field(None, alias="Host")
    skip_verify: bool = Field(False, alias="SkipTLSVerify")


class _Endpoints(BaseModel):
    docker: _Docker


class _Context(BaseModel):
    """`contexts/meta/ID/meta.json`."""

    model_config = ConfigDict(extra="ignore")
    endpoints: _Endpoints = Field(alias="Endpoints")


def _config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _current_context() -> str:
    file = _config_folder() / "config.json"
    if not file.is_file():
        return _DEFAULT_CONTEXT
    return _read(file, _Configuration).current or _DEFAULT_CONTEXT


def _of_context(name: str) -> Endpoint:
    """Its folders are named by the digest of its name."""
    contexts, own = _config_folder() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    file = contexts / "meta" / own / "meta.json"
    if not file.is_file():
        raise NotReadyError(f"The Docker context {name!r} does not exist.", hint="See `docker context ls`.")
    docker = _read(file, _Context).endpoints.docker
    certificates = contexts / "tls" / own / "docker"
    tls = _tls_in(certificates, verify=not docker.skip_verify) if certificates.is_dir() else None
    return _checked(_with_scheme(docker.host or f"unix://{DEFAULT_SOCKET}"), tls, f"the context {name}")


def _read(file: Path, shape: type[_Shape]) -> _Shape:
    try:
        return shape.model_validate_json(file.read_bytes())
    except OSError as error:
        raise NotReadyError(f"The Docker configuration can't be read: {error.strerror}.", where=str(file)) from error
    except ValidationError as error:
        raise NotReadyError(
            f"The Docker configuration can't be read: {problem_of(error)}",
            where=str(file),
            hint="Mend the file, or set DOCKER_HOST.",
        ) from error
