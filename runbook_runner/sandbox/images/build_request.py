"""Docker sandbox: one build by the engine's API (the classic builder: a `# syntax=` line means nothing to it).

Not by docker-py, which gives the passwords of the Docker configuration's proxies to every build.
"""

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from secrets import token_hex
from typing import Any, Final
from urllib.parse import urlencode

from runbook_runner.sandbox.docker.engine import Engine
from runbook_runner.sandbox.images.build_group import kill_group
from runbook_runner.sandbox.images.records import RefusedError, dialled, records

_PERIOD_US: Final = 100_000
_ENDS_S: Final = 5.0  # in which Podman ends a build whose step was killed
_NO_NETWORK: Final = {"networkmode": "none"}
_ON_PODMAN: Final = {
    # Else its builds have the network of their machine, loopback included, in place of that of its containers.
    "nsoptions": '[{"Name": "network"}]',
    # Its cache takes any image that looks like the step's, also a pulled one, with all that it says about itself.
    "nocache": True,
    "layers": False,
}


@dataclass(frozen=True)
class Bounds:
    """What the build of content that a project offers may use, or of our own on an image of others; all else has the
    engine's network and no limit but the deadline."""

    network: bool
    """Never false on Podman, which can't hold a build to that."""
    cpus: float
    memory_bytes: int
    deadline_s: float


class BuildFailedError(Exception):
    """The build failed, with the engine's reason."""


def build_records(
    engine: Engine,
    context: bytes,
    options: Mapping[str, Any],
    bounds: Bounds | None,
    left_s: float,
    *,
    logins: bool = True,
) -> Generator[dict[str, Any], None, None]:
    """Yields what the engine says. left_s: seconds until the build is ended. logins: those that Docker keeps for
    registries are used. Raises BuildFailedError, OSError."""
    group = f"runbook-build-{token_hex(8)}" if engine.is_podman and engine.is_near else None
    done = threading.Event()

    def end_group() -> None:
        if group:
            kill_group(group)  # while its output is read: else Podman keeps what it has made
            done.wait(_ENDS_S)

    with dialled(engine, left_s, end_group) as to_engine:
        connection, late = to_engine.connection, to_engine.late
        over, answer = False, None
        try:
            parameters = urlencode(
                {**options, **_asked(engine, bounds), **({"cgroupparent": f"/{group}"} if group else {})}
            )
            headers = {"Content-Type": "application/x-tar"}
            with suppress(
                RuntimeError, LookupError, ValueError, OSError
            ):  # of a credential helper that is missing or broken
                if logins:
                    engine.api._set_auth_headers(headers)  # type: ignore[attr-defined]
            connection.request("POST", f"/v{engine.api.api_version}/build?{parameters}", context, headers)
            answer = connection.getresponse()
            over = answer.status >= 400
            for record in records(answer):
                over = "error" in record
                if late.is_set() and over:
                    break
                yield record
            over = True
        except RefusedError as error:
            raise BuildFailedError(str(error)) from error
        except (HTTPException, OSError) as error:
            if late.is_set():
                raise BuildFailedError("It took too long, and was ended.") from error
            raise ConnectionError(str(error)) from error
        finally:
            done.set()
            to_engine.timer.cancel()
            if group and not over and not late.is_set():
                kill_group(group)
                to_engine.sock.settimeout(_ENDS_S)
                if answer:
                    _read_away(answer)
    if late.is_set():
        raise BuildFailedError("It took too long, and was ended.")


def _read_away(answer: HTTPResponse) -> None:
    until = time.monotonic() + _ENDS_S
    with suppress(OSError, HTTPException):
        while answer.read1(1 << 16) and time.monotonic() < until:
            pass


def _asked(engine: Engine, bounds: Bounds | None) -> dict[str, Any]:
    """Returns the request's parameters for the network and the limits."""
    limits = _limits(engine, bounds) if bounds else {}
    if engine.is_podman:
        return _ON_PODMAN | limits
    return (_NO_NETWORK if bounds and not bounds.network else {}) | limits


def _limits(engine: Engine, bounds: Bounds) -> dict[str, Any]:
    if not engine.groups:
        return {}
    quota = round(min(bounds.cpus, engine.cpus) * _PERIOD_US)
    limits = {"cpuperiod": _PERIOD_US, "cpuquota": quota}
    return limits | {"memory": bounds.memory_bytes, "memswap": bounds.memory_bytes}
