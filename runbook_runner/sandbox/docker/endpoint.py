"""Docker sandbox: which engine is meant, as the docker command finds it: the environment, else a context, else the
usual socket. Only reads files.

DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, DOCKER_CONTEXT and DOCKER_CONFIG mean what they mean to that command.
"""

import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.files import is_file, is_folder
from runbook_runner.core.formats.json_toml import read_json

DEFAULT_SOCKET: Final = "/var/run/docker.sock"
_DEFAULT_CONTEXT: Final = "default"
_SCHEMES: Final = ("unix", "tcp", "http", "https", "ssh")
_PORTS: Final = {False: 2375, True: 2376}  # without TLS, with it


@dataclass(frozen=True)
class Tls:
    ca: Path | None
    certificate: Path | None
    """The client's own, for an engine that asks for one; with `key`."""
    key: Path | None
    verify: bool
    """Whether the certificate of the engine is checked."""

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
    """As its user wrote it, with a scheme."""
    tls: Tls | None = None
    origin: str = ""
    """What named it: `DOCKER_HOST` or `the context NAME`; empty for the usual socket."""

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def socket_path(self) -> str:
        """The path of a unix socket: of this machine, for `ssh` of the machine it leads to; empty for TCP."""
        if self.scheme == "unix":
            return self.url.removeprefix("unix://")
        return (urlsplit(self.url).path.rstrip("/") or DEFAULT_SOCKET) if self.scheme == "ssh" else ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of an engine behind TCP."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORTS[self.tls is not None]


def dial(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    """Returns a connection to an engine behind a unix socket or TCP, with TLS when the endpoint has it. Raises
    OSError."""
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
    """Raises InputError for an invalid address, NotReadyError for a context that does not exist or can't be read."""
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
            f"{url!r} is not the address of a Docker engine.",
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
    found = {name: path if is_file(path := folder / f"{name}.pem") else None for name in ("ca", "cert", "key")}
    return Tls(found["ca"], found["cert"], found["key"], verify)


# --- contexts --------------------------------------------------------------------------------------------------------
# Read here, not by docker-py's ContextAPI (7.2): without a config.json that looks for contexts in the working folder,
# which may be a clone; it takes a config.json that it can't read for the default context, and drops an authority that
# comes without a certificate of the client.


def _config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _current_context() -> str:
    file = _config_folder() / "config.json"
    if not is_file(file):
        return _DEFAULT_CONTEXT
    with _reading(file):
        return str(read_json(file.read_bytes(), str(file)).get("currentContext") or _DEFAULT_CONTEXT)


def _of_context(name: str) -> Endpoint:
    """The folders of a context are named by the digest of its name. Raises NotReadyError."""
    contexts, own = _config_folder() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    file = contexts / "meta" / own / "meta.json"
    if not is_file(file):
        raise NotReadyError(f"The Docker context {name!r} does not exist.", hint="See `docker context ls`.")
    with _reading(file):
        described = read_json(file.read_bytes(), str(file))["Endpoints"]["docker"]
        host = str(described.get("Host") or f"unix://{DEFAULT_SOCKET}")
        verify = not described.get("SkipTLSVerify")
    certificates = contexts / "tls" / own / "docker"
    tls = _tls_in(certificates, verify=verify) if is_folder(certificates) else None
    return _checked(_with_scheme(host), tls, f"the context {name}")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Raises NotReadyError for a file that can't be read or does not hold what it should."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, OSError):
            reason = error.strerror
        else:
            reason = error.message if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise NotReadyError(
            f"The Docker configuration can't be read: {reason}.",
            where=str(file),
            hint="Correct the file, or set DOCKER_HOST.",
        ) from error
