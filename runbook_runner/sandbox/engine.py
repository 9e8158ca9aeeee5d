"""Docker sandbox: finds the engine the way the docker command does, and asks it what we need to know once."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import docker
import requests.exceptions
import urllib3.exceptions
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, NotFound
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from runbook_runner.errors import NotReadyError, SandboxError
from runbook_runner.sandbox import GatewayAddress

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_TIMEOUT_S = 120  # of one request; building and pulling keep sending, a fetch of a large tree does too
_BROKEN = (DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answered. May be shared by threads and runs."""

    url: str
    api: docker.APIClient

    @cached_property
    def info(self) -> dict[str, Any]:
        with engine_errors("ask the Docker engine about itself"):
            return dict(self.api.info())

    @property
    def cpus(self) -> int:
        return int(self.info.get("NCPU") or 1)

    @property
    def in_a_vm(self) -> bool:
        """Docker Desktop and its kin: the engine's bridge is not on this machine, but it has a name for it."""
        return os.uname().sysname == "Darwin" or "Docker Desktop" in str(self.info.get("OperatingSystem"))

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

    def gateway(self, bridge_address: str) -> GatewayAddress:
        """See `Sandbox.gateway_host`. On Linux a server on 127.0.0.1 is not reachable from a container, one on the
        bridge's own address is (field notes §5.6)."""
        if self.in_a_vm:
            return GatewayAddress(bind="127.0.0.1", reach="host.docker.internal")
        try:
            with socket.socket() as probe:
                probe.bind((bridge_address, 0))
        except OSError as error:
            raise NotReadyError(
                f"Containers of the engine at {self.url} can't reach this machine: "
                f"{bridge_address or 'their bridge'} is not one of its addresses.",
                hint="A rootless or remote engine can't serve models from here. Use an engine that runs on this "
                "machine as root, or --sandbox host.",
            ) from error
        return GatewayAddress(bind=bridge_address, reach=bridge_address)


def connect() -> Engine:
    """The engine of DOCKER_HOST, else of DOCKER_CONTEXT or the current context, else of the default socket.
    Raises NotReadyError that says which was tried."""
    url, tls = _endpoint()
    try:
        return Engine(url, docker.APIClient(base_url=url, tls=tls or False, version="auto", timeout=_TIMEOUT_S))
    except _BROKEN as error:
        raise NotReadyError(
            f"No Docker engine answers at {url}.",
            hint="Start it (or set DOCKER_HOST to another one), or add --sandbox host to run without isolation.",
            details=_innermost(error),
        ) from error


def _endpoint() -> tuple[str, TLSConfig | None]:
    if host := os.environ.get("DOCKER_HOST"):
        return host, _tls_from_environment()
    name = os.environ.get("DOCKER_CONTEXT") or None
    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # docker-py raises a bare Exception for a broken metadata file
        raise NotReadyError(f"The Docker context can't be read: {error}.", hint="See `docker context ls`.") from error
    if context is None:
        raise NotReadyError(f"The Docker context {name or 'in use'!r} does not exist.", hint="See `docker context ls`.")
    return context.Host or DEFAULT_SOCKET, context.TLSConfig


def _tls_from_environment() -> TLSConfig | None:
    """As the docker command: DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."""
    tls = kwargs_from_env().get("tls")
    return tls if isinstance(tls, TLSConfig) else None


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
    except _BROKEN as error:
        raise SandboxError(
            f"Can't {doing}: the Docker engine does not answer.", hint="Is it still running?", details=_innermost(error)
        ) from error
