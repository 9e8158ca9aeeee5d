"""Runner: a repetition beside the run it repeats: results, tool calls, requests and environment."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_runner.core.errors import AgentError, ExitCode
from runbook_runner.core.events import SandboxStarted, ToolCalled
from runbook_runner.core.settings import APP
from runbook_runner.runner.live_run import Outcome
from runbook_runner.runner.replay.cassette import changes, relocation
from runbook_runner.runner.replay.recorded_run import End, RecordedRun, end_of
from runbook_runner.trajectory.diff import CallsCompared, ResultsCompared, compare_calls, compare_results
from runbook_runner.trajectory.store import read_events


@dataclass(frozen=True)
class Comparison:
    recorded: RecordedRun
    outcome: Outcome
    """Of the repetition."""
    end: End | None
    """Its end."""
    sandbox: SandboxStarted | None
    results: ResultsCompared | None
    """`None`, and so the calls: it could not take place or was stopped, so there is nothing to compare."""
    calls: CallsCompared | None

    @property
    def is_fork(self) -> bool:
        return bool(self._folded["replay"]["mode"] == "fork")

    @property
    def divergences(self) -> dict[str, int]:
        """Severity → how many requests differed so from the recorded ones."""
        counts: dict[str, int] = self._folded["replay"]["divergences"]
        return {severity: counts.get(severity, 0) for severity in ("minor", "major", "miss")}

    @property
    def model_calls(self) -> Mapping[str, int]:
        """Who answered → how many calls."""
        counts: dict[str, int] = self._folded.get("model_calls", {})
        return counts

    def environment(self) -> Iterator[str]:
        """What else differs, for people. Nothing where there is nothing to compare."""
        if self.results is None:
            return
        yield from changes(self.recorded, self.sandbox)
        if not self._same_end:
            yield f"{self.recorded.end} then, {self.end} now"

    def exit_code(self, *, strict: bool) -> ExitCode:
        """strict: another image or version of the agent fails, too."""
        if self.is_fork or self.results is None or (self.outcome.error and not self._fails_as_recorded):
            return self.outcome.exit_code
        diverged = self.divergences["major"] or self.divergences["miss"] or (strict and any(self.environment()))
        same = self._same_end and self.results.identical and not diverged
        return ExitCode.PASS if same else ExitCode.VERDICT_FAIL

    def json(self) -> dict[str, Any]:
        return {
            "parent_trajectory_id": self.recorded.trajectory_id,
            "mode": "fork" if self.is_fork else "replay",
            "model_calls": self.model_calls,
            "divergences": self.divergences,
            "results": _json(self.results, diffs=dict(self.results.diffs)) if self.results else None,
            "tool_calls": _json(self.calls) if self.calls else None,
            "environment": list(self.environment()),
        }

    @property
    def _folded(self) -> dict[str, Any]:
        return self.outcome.trajectory.attributes.params

    @property
    def _same_end(self) -> bool:
        """True also when the recorded run has no end to compare with."""
        return self.recorded.end in (None, self.end)

    @property
    def _fails_as_recorded(self) -> bool:
        return self.recorded.end == self.end and not self.divergences["miss"]


def compare(recorded: RecordedRun, outcome: Outcome) -> Comparison:
    events = [item.event for item in read_events(outcome.folder)]
    end = end_of(events)
    sandbox = next((event for event in events if isinstance(event, SandboxStarted)), None)
    if outcome.error and outcome.error.exit_code != AgentError.exit_code:
        return Comparison(recorded, outcome, end, sandbox, results=None, calls=None)
    called = [event for event in events if isinstance(event, ToolCalled)]
    there = relocation(recorded.app, sandbox.app if sandbox else APP)
    results = compare_results(recorded.folder, outcome.folder)
    return Comparison(recorded, outcome, end, sandbox, results, compare_calls(recorded.tool_calls, called, there))


def _json(compared: ResultsCompared | CallsCompared, **more: Any) -> dict[str, Any]:
    return {"identical": compared.identical, **asdict(compared), **more}
