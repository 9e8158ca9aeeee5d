"""Runner: runs the agent to its end; a CLI that failed before it began to work is started again where that can help."""

import threading
import time
from collections.abc import Callable

from runbook_runner.agents.failures import retry_delay
from runbook_runner.core.events import AgentFinished, AgentRetried
from runbook_runner.runner.agent.launch import Launch
from runbook_runner.runner.agent.process import ProcessEnd, run_process
from runbook_runner.sandbox.base import Sandbox


def run_agent(launch: Launch, sandbox: Sandbox, before_start: Callable[[], None]) -> AgentFinished:
    """Returns how the agent ended. before_start: is called before each. Raises what the sandbox raises."""
    deadline = time.monotonic() + launch.limits.timeout_s
    retries = 0
    while True:
        # The mission and the inputs go in with the agent's own files: each call of the engine takes 50 ms.
        files = () if retries else launch.files
        before_start()
        ended = run_process(launch, sandbox, deadline - time.monotonic(), files)
        delay = _delay(ended, retries, left_s=deadline - time.monotonic())
        if delay is None:
            return ended.end
        retries += 1
        error, kind = ended.end.error or "", ended.end.error_kind or ""
        launch.emit(AgentRetried(retry=retries, delay_s=round(delay, 3), error=error, error_kind=kind))
        _wait(launch, delay)
        if launch.cancellation.requested:
            return ended.end.model_copy(update={"ended_by": "cancel", "error": None, "error_kind": None})


def _delay(ended: ProcessEnd, retries: int, *, left_s: float) -> float | None:
    """Seconds until the next start; `None` when there is none: an agent that has worked is not started again."""
    if ended.has_worked or ended.hopeless or ended.end.error is None or ended.end.ended_by not in ("exit", "idle"):
        return None
    delay = retry_delay(ended.end.error_kind, retries)
    return delay if delay is not None and delay < left_s else None


def _wait(launch: Launch, seconds: float) -> None:
    """Returns early when the run is asked to stop."""
    stop = threading.Event()
    with launch.cancellation.stops_with(stop.set):
        stop.wait(seconds)
