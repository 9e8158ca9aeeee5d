"""Runner: what the end of an agent process means: why it ended, what failed, and whether two counts of usage agree."""

from typing import Final, Literal

from runbook_runner.agents import failures
from runbook_runner.agents.base import Agent, Result
from runbook_runner.core.events import AgentFinished, Log, Stop
from runbook_runner.core.spec import Limits
from runbook_runner.core.text import last_line
from runbook_runner.runner.agent.launch import Launch

Why = Literal["idle", "cancel", "finished", "output", "refused"]
"""Why the runner ended a process: it was stuck, the run was cancelled, the process stayed after its final record, it
printed too much, or its model will answer no more."""


_MOST_OUTPUT: Final = 256 << 20
_SHARE_OF_DISK: Final = 4


def most_output(limits: Limits) -> int:
    """Returns the bytes of output that are recorded of an agent process. The log, the events and what is made of them
    hold it: several times as much on this machine's disk."""
    return min(_MOST_OUTPUT, limits.disk_bytes // _SHARE_OF_DISK)


def finished(
    launch: Launch, code: int | None, deadline: bool, why: Why | None, result: Result, stderr: list[str]
) -> AgentFinished:
    ended_by: Literal["exit", "deadline", "idle", "cancel"] = "exit"
    error, kind = _agent_error(launch, code, result, stderr, exited=why != "finished")
    if why == "cancel":
        ended_by, error, kind = "cancel", None, None
    elif deadline and why != "finished":
        error = f"Agent exceeded timeout_sec ({launch.limits.timeout_s:g}).{_last_refusal(launch)}"
        ended_by, kind = "deadline", "timeout"
    elif why == "idle":
        error = f"The agent produced no output and made no model call for {launch.limits.idle_s:g} s."
        error += _last_refusal(launch)
        ended_by, kind = "idle", "stalled"
    elif why == "refused" and launch.session and (failure := launch.session.failure):
        error, kind = failure.message, failures.of_gateway(failure.kind)
    elif why == "output":
        most = most_output(launch.limits) >> 20
        error = f"The agent printed more than {most} MB, the most that is recorded with this --disk; it was ended."
        kind = "disk_limit"
    _compare_usage(launch, result)
    if error is None and _stop(launch) == "length":
        launch.emit(Log(level="warning", message="The model's last answer was cut off at its output limit."))
    return AgentFinished(
        exit_code=code, ended_by=ended_by, text=result.text, usage=result.usage, error=error, error_kind=kind
    )


def _agent_error(
    launch: Launch, code: int | None, result: Result, stderr: list[str], *, exited: bool
) -> tuple[str | None, str | None]:
    """Returns message and kind, `None` for an agent that did not fail. What the gateway saw comes first: it is nearer
    to the cause than what the CLI reports. exited: the runner did not end the process."""
    failure = launch.session.failure if launch.session else None
    if failure and (result.error or code or failure.kind == "budget"):
        return failure.message, failures.of_gateway(failure.kind)
    stop = _stop(launch)
    if stop == "refusal" or (stop and (result.error or code)):
        return result.error or "The model refused to continue.", failures.OF_STOP[stop]
    if result.error and result.error_kind != "crashed":
        return _with_provider_message(launch, _with_last_line(launch, result.error, result.output), result.error_kind)
    if result.error or (code and exited):
        output = [result.error or f"{launch.agent.binary} ended with exit code {code}.", *stderr]
        return _with_provider_message(launch, "\n".join(output), _crash_kind(launch.agent, "\n".join(output)))
    return None, None


def _stop(launch: Launch) -> Stop | None:
    last = launch.session.last_outcome if launch.session else None
    return last.stop if last and last.succeeded else None


def _last_refusal(launch: Launch) -> str:
    """What an agent may have waited for: its last model call failed, and it did not give up."""
    last = launch.session.last_outcome if launch.session else None
    return f" Its last model call had failed: {last.error}" if last and last.error and not last.succeeded else ""


def _with_last_line(launch: Launch, error: str, output: str) -> str:
    """Without secrets before it is cut: of a part of one nobody would know what it is."""
    line = last_line(launch.redactor.clean(output))
    return f"{error.removesuffix('.')}: {line}" if line else error


def _with_provider_message(launch: Launch, error: str, kind: str | None) -> tuple[str, str | None]:
    """Some CLIs hide the provider's message: a used-up quota looks like a rate limit then. Others wrap it in words
    about the gateway, which they take for the provider."""
    last = launch.session.last_outcome if launch.session else None
    if last is None or not last.error or not (last.status or last.broke_off):
        return error, kind
    classified = failures.classify(last.error, last.status)
    own = last.broke_off or last.error in error
    return last.error if own else f"{error}\nThe provider said: {last.error}", classified or kind


def _crash_kind(agent: Agent, output: str) -> str:
    """Some CLIs report the reason on stderr only. What a runbook's own scripts print there is not a reason."""
    if agent.dialect is None and not agent.errors:
        return "crashed"
    return failures.classify(output, extra=agent.errors) or "crashed"


def _compare_usage(launch: Launch, result: Result) -> None:
    """Warns when the gateway and the CLI count the same tokens differently."""
    if launch.session is None or result.usage is None:
        return
    for what in ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens"):
        counted, reported = getattr(launch.session.usage, what), getattr(result.usage, what)
        if counted != reported:
            message = f"{what}: the gateway counted {counted}, {launch.agent.name} reports {reported}."
            launch.emit(Log(level="warning", message=message))
    counted, reported = launch.session.usage.cost_usd, result.usage.cost_usd
    if (
        launch.session.source == "provider"
        and counted is not None
        and reported is not None
        and abs(counted - reported) > counted / 100
    ):
        message = f"cost: ${counted:.4f} by the price table, ${reported:.4f} as {launch.agent.name} reports."
        launch.emit(Log(level="warning", message=message))
