"""Docker sandbox: an engine that answered, and its answers to questions that are asked once."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import docker
import requests.exceptions
import urllib3.exceptions
from docker.errors import APIError, DockerException, NotFound
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from docker.utils.proxy import ProxyConfig

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.programs import find_program
from runbook_runner.sandbox.base import GatewayAddress
from runbook_runner.sandbox.docker.endpoint import Endpoint, Tls, dial, find_endpoint
from runbook_runner.sandbox.image_names import full_name, full_names, is_image_name, is_named

_TIMEOUT_S: Final = 120  # of one request; building and pulling keep sending, a fetch of a large tree does too
_MOST_SAID: Final = 1000  # characters of the engine's reason, which may name a path of a container
NEEDS: Final = "An image needs at least `sleep` and `sh` to be used as a sandbox."
_PASSWORD: Final = re.compile(r"^(\w*://)?.*@", re.DOTALL)
"""With the user name, after the scheme; a password may hold a raw `/` or `@`."""
BROKEN: Final = (DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What the engine's client raises; for an answer that breaks off while it is read, errors of urllib3."""


class _UnixAdapter(UnixHTTPAdapter):
    """docker-py's keeps a connection for each address that was asked."""

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        return super().get_connection(self.socket_path)


class _Client(docker.APIClient):
    def __init__(self, **how: Any):
        super().__init__(**how)
        theirs = self.get_adapter(self.base_url)
        if isinstance(theirs, UnixHTTPAdapter):
            theirs.close()
            self._custom_adapter = _UnixAdapter(theirs.socket_path, theirs.timeout)
            self.mount("http+docker://", self._custom_adapter)
        # docker-py would give them, with their passwords, to every container and every build.
        self.proxies_of_config: dict[str, str] = self._proxy_configs.get_environment()  # type: ignore[has-type]
        self._proxy_configs = ProxyConfig()
        self.until: float | None = None
        """When all requests end, on the monotonic clock."""

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Called by docker-py for each request. Raises TimeoutError."""
        asked: dict[str, Any] = super()._set_request_timeout(kwargs)  # type: ignore[misc]
        return asked if self.until is None else {**asked, "timeout": left_until(self.until)}

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Called by requests, which would prefer REQUESTS_CA_BUNDLE to the engine's own authority."""
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)

    def _retrieve_server_version(self) -> Any:
        """Called once, by the constructor. The engine answers a ping at once; for /version it starts programs first."""
        answer = self.get(f"{self.base_url}/_ping", timeout=self.timeout)
        return answer.headers.get("API-Version") or super()._retrieve_server_version()  # type: ignore[misc]


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answered, or another with the same API. May be shared by threads and runs."""

    url: str
    """As its user named it."""
    api: docker.APIClient
    endpoint: Endpoint
    """Where connections go: to an engine behind ssh through a socket of this machine."""
    until: float | None = None
    """When all its answers must have come, on the monotonic clock; `None`: each has its own time."""
    starting: set[str] = field(default_factory=set, compare=False)
    """The ids of commands that this process has started in containers, until it is seen that they are up."""

    @contextmanager
    def within(self, seconds: float) -> Iterator["Engine"]:
        """Yields the same engine, whose answers must all come within this time from now."""
        until = time.monotonic() + seconds
        with closing(_client(self.endpoint, seconds, version=str(self.api.api_version))) as api:
            api.until = until
            yield replace(self, api=api, until=until)

    def dial(self, timeout_s: float = _TIMEOUT_S) -> socket.socket:
        """Returns a new connection. Raises OSError."""
        return dial(self.endpoint, self.at_most(timeout_s))

    def at_most(self, seconds: float) -> float:
        """Returns the seconds, fewer where less time is left. Raises TimeoutError when none is."""
        return seconds if self.until is None else min(seconds, left_until(self.until))

    def ask_ahead(self) -> None:
        """Fetches `info` in another thread: the engine takes a hundredth of a second for it."""

        def ask() -> None:
            with suppress(SandboxError):
                _ = self.info

        threading.Thread(target=ask, name="ask-ahead", daemon=True).start()

    @cached_property
    def info(self) -> dict[str, Any]:
        with engine_errors("ask the Docker engine about itself"):
            return dict(self.api.info())

    @property
    def proxies_with_passwords(self) -> dict[str, str]:
        """Variables with the proxies of the Docker configuration, for builds of our own content."""
        return dict(getattr(self.api, "proxies_of_config", {}))

    @property
    def proxies(self) -> dict[str, str]:
        """The same without user names and passwords."""
        return {name: _PASSWORD.sub(r"\1", value) for name, value in self.proxies_with_passwords.items()}

    @property
    def cpus(self) -> int:
        return int(self.info.get("NCPU") or 1)

    @cached_property
    def version(self) -> dict[str, Any]:
        with engine_errors("ask the Docker engine for its version"):
            return dict(self.api.version())

    @property
    def product(self) -> str:
        """`Docker Engine 27.1`, `Podman Engine 4.3.1`."""
        for part in self.version.get("Components") or []:
            if "Podman" in str(part.get("Name")):
                return f"{part['Name']} {part.get('Version', '')}".strip()
        name = "Docker Desktop" if self.is_desktop else "Docker Engine"
        return f"{name} {self.version.get('Version', '')}".strip()

    @property
    def is_podman(self) -> bool:
        return "BuildahVersion" in self.info

    @property
    def rootless(self) -> bool:
        return "name=rootless" in (self.info.get("SecurityOptions") or []) or bool(self.info.get("Rootless"))

    @property
    def groups(self) -> bool:
        """It can make control groups. Version 1 takes root, and a rootless Podman claims limits all the same."""
        return not (self.rootless and str(self.info.get("CgroupVersion")) == "1")

    @property
    def is_desktop(self) -> bool:
        return "Docker Desktop" in str(self.info.get("OperatingSystem"))

    @property
    def is_local(self) -> bool:
        """It runs on this machine. A socket may lead out of or into a container, which has another host name."""
        here = os.uname()
        near = here.sysname == "Linux" and self.url.startswith("unix:") and not self.is_desktop
        return near and self.info.get("Name", here.nodename) == here.nodename

    @property
    def is_near(self) -> bool:
        """It runs on this machine as root: its bridge is this machine's, and its containers can be shown sockets of
        it."""
        return self.is_local and not self.rootless

    def image(self, reference: str) -> dict[str, Any]:
        """Returns the description of an image; its `Config` is empty when whoever made the image gave it none. Raises
        SandboxError, also for an unknown image."""
        found = self._found(reference)
        if found is None:
            raise SandboxError(f"The engine has no image {reference}.")
        return {**found[1], "Config": found[1].get("Config") or {}}

    def image_id(self, reference: str) -> str | None:
        """Returns `sha256:…`, or `None` when the engine has no such image. Raises NotReadyError for an invalid name,
        SandboxError."""
        found = self._found(reference)
        return str(found[1]["Id"]) if found else None

    def image_name(self, reference: str) -> str:
        """Returns the full name under which the engine has the image, else the one under which it would get it. Raises
        as `image_id`."""
        found = self._found(reference)
        return found[0] if found else full_name(reference)

    def other_image(self, reference: str) -> dict[str, Any] | None:
        """Returns the image that the engine itself takes for a name which none of its images has: Podman one whose name
        ends so, Docker one whose id begins so. Raises as `image_id`."""
        return None if self._found(reference) else self._inspect(reference, reference)

    def _found(self, reference: str) -> tuple[str, dict[str, Any]] | None:
        """Returns its name or id, and what it is."""
        if not is_image_name(reference):
            raise NotReadyError(f"{reference!r} is not the name of an image.")
        for name in full_names(reference, built_here=self.is_podman):
            found = self._inspect(name, reference)
            if found and is_named(found, name):
                return name, found
        return None

    def _inspect(self, name: str, reference: str) -> dict[str, Any] | None:
        with engine_errors(f"look for the image {reference}"):
            try:
                return dict(self.api.inspect_image(name))  # type: ignore[no-untyped-call]
            except NotFound:
                return None

    def outlived(self, container: str) -> bool:
        """Whether the container still runs after a command in it was killed. Waits a moment: the engine reports a
        command's end before its container's. Raises SandboxError."""
        time.sleep(0.3)
        with engine_errors("look for the container"):
            try:
                return bool(self.api.inspect_container(container)["State"]["Running"])
            except NotFound:
                return False

    def gateway(self, bridge_address: str) -> GatewayAddress | None:
        """Returns how its containers reach a server of this machine; `None` when their network does not lead here. On
        Linux a container does not reach a server on 127.0.0.1, but one on the bridge's own address (field notes
        §5.6)."""
        if self.is_desktop:
            return GatewayAddress(bind="127.0.0.1", reach="host.docker.internal")
        # The bridge of a remote engine may have the same address as this machine's.
        if not self.is_near or not bridge_address:
            return None
        try:
            with socket.socket() as probe:
                probe.bind((bridge_address, 0))
        except OSError:
            return None
        return GatewayAddress(bind=bridge_address, reach=bridge_address)


def connect(timeout_s: int = _TIMEOUT_S) -> Engine:
    """Returns the engine of DOCKER_HOST, else of DOCKER_CONTEXT or the current context, else of the usual socket.
    timeout_s: of each request. Raises NotReadyError with the address that was tried, InputError for an invalid
    address."""
    named = find_endpoint()
    endpoint = named
    try:
        if named.scheme == "ssh":
            from runbook_runner.sandbox.docker.ssh import forward

            endpoint = replace(named, url=f"unix://{forward(named)}")
        return Engine(named.url, _client(endpoint, timeout_s), endpoint)
    except BROKEN as error:
        innermost, url = _innermost(error), f"{named.url}{_named_by(named)}"
        if isinstance(innermost, PermissionError):
            message = f"This user may not use the Docker engine at {url}: permission denied."
            raise NotReadyError(message, hint=_denied_hint(named)) from error
        message = f"No Docker engine answers at {url}."
        raise NotReadyError(message, hint=_no_engine_hint(named), details=_plain(innermost)) from error


def _client(endpoint: Endpoint, timeout_s: float, *, version: str = "auto") -> _Client:
    """Raises one of `BROKEN`."""
    tls = _tls(endpoint.tls) if endpoint.tls else False
    return _Client(base_url=endpoint.url, tls=tls, version=version, timeout=timeout_s)


def left_until(until: float) -> float:
    """Returns the seconds until then, on the monotonic clock. Raises TimeoutError when that time is over."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left


def _named_by(endpoint: Endpoint) -> str:
    return f" (from {endpoint.origin})" if endpoint.origin else ""


def _no_engine_hint(endpoint: Endpoint) -> str:
    """Returns what to do: an engine of the user's own may listen at a usual place."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    own = ["/run/podman/podman.sock", f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    for path in own:
        if not endpoint.origin and os.access(path, os.R_OK | os.W_OK) and Path(path).is_socket():
            return f"Another engine is here: `export DOCKER_HOST=unix://{path}`."
    return f"Start it (or set DOCKER_HOST to another one), or {_without_engine()}."


def _denied_hint(endpoint: Endpoint) -> str:
    """Returns how to be let in: the socket belongs to a group, usually `docker`."""
    group = "docker"
    with suppress(OSError, KeyError):  # a group without a name
        group = Path(urlsplit(endpoint.url).path).group()
    return f"Join its group (`sudo usermod -aG {group} $USER`) and log in again, or {_without_engine()}."


def _without_engine() -> str:
    if find_program("bwrap"):
        return "run with --sandbox bubblewrap"
    return "install bubblewrap, or run with --sandbox host, which isolates nothing"


def _tls(tls: Tls) -> TLSConfig:
    own = (str(tls.certificate), str(tls.key)) if tls.certificate and tls.key else None
    ca = str(tls.ca) if tls.ca else None
    return TLSConfig(client_cert=own, ca_cert=ca, verify=tls.verify)


def _plain(error: BaseException) -> str:
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)


def _innermost(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns an engine's refusal, and its absence, into SandboxError: `Can't {doing}: …`."""
    try:
        yield
    except APIError as error:
        reason = (error.explanation or str(error)).strip()[:_MOST_SAID]
        hint = f"It has ended, or somebody removed it. {NEEDS}" if _tells_of_end(reason) else None
        raise SandboxError(f"Can't {doing}: {reason}", hint=hint) from error
    except BROKEN as error:
        raise SandboxError(
            f"Can't {doing}: the Docker engine does not answer.",
            hint="Is it still running?",
            details=str(_innermost(error)),
        ) from error


def _tells_of_end(reason: str) -> bool:
    """Whether the engine refuses because the container no longer runs; there is always a `/` in one that does."""
    said = reason.lower()
    return any(words in said for words in ("no such container", "is not running", "could not find the file / in"))
