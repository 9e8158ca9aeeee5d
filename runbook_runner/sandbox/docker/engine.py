"""Docker sandbox: an engine that answered, and what we need to know about it once."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import docker
import requests.exceptions
import urllib3.exceptions
from docker.errors import APIError, DockerException, NotFound
from docker.tls import TLSConfig

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.sandbox.base import GatewayAddress
from runbook_runner.sandbox.docker.endpoint import Endpoint, Tls, dial, find_endpoint

_TIMEOUT_S: Final = 120  # of one request; building and pulling keep sending, a fetch of a large tree does too
BROKEN: Final = (DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What the engine's client raises: an answer that breaks off or stays away while it is read comes as urllib3's own."""


class _Client(docker.APIClient):
    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Asked by requests, which would let REQUESTS_CA_BUNDLE win over the engine's own authority."""
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)

    def _retrieve_server_version(self) -> Any:
        """Asked once, by the constructor. The engine answers a ping at once; for /version it starts programs first."""
        answer = self.get(f"{self.base_url}/_ping", timeout=self.timeout)
        return answer.headers.get("API-Version") or super()._retrieve_server_version()  # type: ignore[misc]


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answered, or one that speaks like it. May be shared by threads and runs."""

    url: str
    """As its user named it."""
    api: docker.APIClient
    endpoint: Endpoint
    """Where connections really go: an engine behind ssh has a socket of this machine."""

    def dial(self, timeout_s: float = _TIMEOUT_S) -> socket.socket:
        """A connection of one's own. Raises OSError."""
        return dial(self.endpoint, timeout_s)

    def ask_ahead(self) -> None:
        """Lets the engine gather what `info` needs, a hundredth of a second, while its user does something else."""

        def ask() -> None:
            with suppress(SandboxError):
                _ = self.info

        threading.Thread(target=ask, name="ask-ahead", daemon=True).start()

    @cached_property
    def info(self) -> dict[str, Any]:
        with engine_errors("ask the Docker engine about itself"):
            return dict(self.api.info())

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
    def rootless(self) -> bool:
        return "name=rootless" in (self.info.get("SecurityOptions") or []) or bool(self.info.get("Rootless"))

    @property
    def groups(self) -> bool:
        """It can make control groups. Version 1 of them is root's alone, and Podman tells of limits all the same."""
        return not (self.rootless and str(self.info.get("CgroupVersion")) == "1")

    @property
    def is_desktop(self) -> bool:
        return "Docker Desktop" in str(self.info.get("OperatingSystem"))

    @property
    def is_local(self) -> bool:
        """It runs on this very machine. A socket may lead out of or into a container, whose host name is another."""
        here = os.uname()
        near = here.sysname == "Linux" and self.url.startswith("unix:") and not self.is_desktop
        return near and self.info.get("Name", here.nodename) == here.nodename

    @property
    def is_near(self) -> bool:
        """And as root: its bridge is ours, and its containers can be shown sockets of ours."""
        return self.is_local and not self.rootless

    def image(self, reference: str) -> dict[str, Any]:
        """Its description. Raises SandboxError, also when there is none."""
        with engine_errors(f"look at the image {reference}"):
            return dict(self.api.inspect_image(reference))  # type: ignore[no-untyped-call]

    def image_id(self, reference: str) -> str | None:
        """`sha256:…`, or `None` when there is none of that name. Raises NotReadyError for what is no name,
        SandboxError."""
        with engine_errors(f"look for the image {reference}"):
            try:
                return str(self.api.inspect_image(reference)["Id"])  # type: ignore[no-untyped-call]
            except NotFound:
                return None
            except APIError as error:
                if error.status_code == 400:
                    raise NotReadyError(f"{reference!r} is no image name.", details=error.explanation) from error
                raise

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
        """How its containers reach a server of this machine; `None`: not by their network. On Linux a server on
        127.0.0.1 is not reachable from a container, one on the bridge's own address is (field notes §5.6)."""
        if self.is_desktop:
            return GatewayAddress(bind="127.0.0.1", reach="host.docker.internal")
        # A remote engine's bridge may well have the address that ours has.
        if not self.is_near or not bridge_address:
            return None
        try:
            with socket.socket() as probe:
                probe.bind((bridge_address, 0))
        except OSError:
            return None
        return GatewayAddress(bind=bridge_address, reach=bridge_address)


def connect(timeout_s: int = _TIMEOUT_S) -> Engine:
    """The engine of DOCKER_HOST, else of DOCKER_CONTEXT or the current context, else of the usual socket. timeout_s: of
    each request. Raises NotReadyError that says which was tried, InputError when that is no address of an engine."""
    named = find_endpoint()
    endpoint = named
    try:
        if named.scheme == "ssh":
            from runbook_runner.sandbox.docker.ssh import forward

            endpoint = replace(named, url=f"unix://{forward(named)}")
        tls = _tls(endpoint.tls) if endpoint.tls else False
        api = _Client(base_url=endpoint.url, tls=tls, version="auto", timeout=timeout_s)
        return Engine(named.url, api, endpoint)
    except BROKEN as error:
        raise NotReadyError(
            f"No Docker engine answers at {named.url}{_named_by(named)}.",
            hint=_no_engine_hint(named),
            details=_innermost(error),
        ) from error


def _named_by(endpoint: Endpoint) -> str:
    return f" (from {endpoint.origin})" if endpoint.origin else ""


def _no_engine_hint(endpoint: Endpoint) -> str:
    """Of an engine of the user's own, where it usually is."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    own = ["/run/podman/podman.sock", f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    for path in own:
        if not endpoint.origin and os.access(path, os.R_OK | os.W_OK) and Path(path).is_socket():
            return f"Another engine is here: `export DOCKER_HOST=unix://{path}`."
    return "Start it (or set DOCKER_HOST to another one), or add --sandbox host to run without isolation."


def _tls(tls: Tls) -> TLSConfig:
    own = (str(tls.certificate), str(tls.key)) if tls.certificate and tls.key else None
    ca = str(tls.ca) if tls.ca else None
    return TLSConfig(client_cert=own, ca_cert=ca, verify=tls.verify)


def _innermost(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error)


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """What the engine refuses, or that it is gone, as SandboxError: `Can't {doing}.`"""
    try:
        yield
    except APIError as error:
        raise SandboxError(f"Can't {doing}: {(error.explanation or str(error)).strip()}") from error
    except BROKEN as error:
        raise SandboxError(
            f"Can't {doing}: the Docker engine does not answer.", hint="Is it still running?", details=_innermost(error)
        ) from error
