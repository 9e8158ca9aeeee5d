"""Docker sandbox: a container stands still, for a while or for good; and whether a command is being started in it.

What runs in a container can keep a command from ever coming up. Until it is up, a pause never ends; questions about the
container (`inspect`) and new commands wait for it, and then all else that is asked of that container, its removal too.
So the engine is asked about the commands that this process has started, and for lists, which never wait.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from docker.errors import APIError, NotFound

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.docker.engine import BROKEN, Engine, engine_errors

_STARTS_S: Final = 5.0
_PAUSE_S: Final = 10.0
_KEPT: Final = "Something that runs in the container keeps it from that; it is ended with the container."


@contextmanager
def standing_still(engine: Engine, container: str) -> Iterator[None]:
    """Nothing in the container runs, where the engine can do that: a rootless one may have no control groups. One that
    was frozen for good stays so. Raises SandboxError."""
    if not engine.groups:
        yield
        return
    with engine_errors("pause the container"):
        require_started(engine, container)
        is_frozen = _is_paused(engine, container)
        try:
            if not is_frozen:
                engine.api.pause(container)
        except APIError:  # it is not paused, or by another
            is_frozen = True
            raise
        except BaseException:
            _go_on(engine, container)
            raise
    try:
        yield
    finally:
        if not is_frozen:
            _go_on(engine, container)


def freeze(engine: Engine, container: str) -> None:
    """Nothing runs in the container any more; its files can still be fetched. Raises SandboxError when the engine can't
    do that, one of `BROKEN`."""
    try:
        with engine.within(_PAUSE_S) as bounded:
            require_started(bounded, container)
            if not _is_paused(bounded, container):
                bounded.api.pause(container)
    except NotFound:
        raise
    except BROKEN as error:  # a rootless engine may have no control group to freeze
        raise SandboxError(
            "What runs in the container can't be ended.", hint="It is ended with the container."
        ) from error


def _go_on(engine: Engine, container: str) -> None:
    """The time of who has paused it may be over."""
    with engine_errors("go on with the container"), engine.within(_PAUSE_S) as bounded:
        bounded.api.unpause(container)


def require_started(engine: Engine, container: str) -> None:
    """Waits for commands that are being started in the container. Raises SandboxError when one does not come up in
    time, one of `BROKEN`."""
    until = time.monotonic() + _STARTS_S
    while any(is_starting(engine, command, container) for command in tuple(engine.starting)):
        if time.monotonic() > until:
            raise SandboxError("A command that was started in the container does not come up.", hint=_KEPT)
        time.sleep(0.02)


def is_starting(engine: Engine, command: str, container: str) -> bool:
    """Raises one of `BROKEN`."""
    with suppress(NotFound):
        about = engine.api.exec_inspect(command)
        if about["Running"] and not about["Pid"]:
            return bool(about["ContainerID"] == container)
    engine.starting.discard(command)
    return False


def _is_paused(engine: Engine, container: str) -> bool:
    found = engine.api.containers(all=True, filters={"id": container})
    return any(item["State"] == "paused" for item in found)
