"""Runner: the agent's phase: starts the agent, and again where that can help and harms nothing."""

import threading
import time

from runbook_runner.agents.failures import retry_delay
from runbook_runner.core.events import AgentFinished, AgentRetried
from runbook_runner.runner.attempt import Attempt, Work, attempt
from runbook_runner.sandbox.base import Sandbox


def work(job: Work, sandbox: Sandbox) -> AgentFinished:
    """Runs the agent to its end, whatever that is, and says how it ended. Raises what the sandbox raises."""
    deadline = time.monotonic() + job.limits.timeout_s
    retries = 0
    while True:
        # The mission and the inputs go in with the agent's own files: each call of the engine takes a twentieth second.
        given = () if retries else job.files
        tried = attempt(job, sandbox, deadline - time.monotonic(), given)
        delay = _delay(tried, retries, left_s=deadline - time.monotonic())
        if delay is None:
            return tried.end
        retries += 1
        error, kind = tried.end.error or "", tried.end.error_kind or ""
        job.emit(AgentRetried(retry=retries, delay_s=round(delay, 3), error=error, error_kind=kind))
        _wait(job, delay)
        if job.cancellation.requested:
            return tried.end.model_copy(update={"ended_by": "cancel", "error": None, "error_kind": None})


def _delay(tried: Attempt, retries: int, *, left_s: float) -> float | None:
    """Seconds until the agent is started again; `None`: it is not. Only an agent that had not begun to work is."""
    if tried.begun or tried.end.error is None or tried.end.ended_by not in ("exit", "idle"):
        return None
    delay = retry_delay(tried.end.error_kind, retries)
    return delay if delay is not None and delay < left_s else None


def _wait(job: Work, seconds: float) -> None:
    """A request to stop ends it."""
    stop = threading.Event()
    with job.cancellation.stops_with(stop.set):
        stop.wait(seconds)
