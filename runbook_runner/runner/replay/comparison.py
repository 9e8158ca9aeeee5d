"""Runner: a repetition beside the run it repeats: results, tool calls, requests and environment."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_runner.core.errors import ExitCode
from runbook_runner.core.events import SandboxStarted, ToolCalled
from runbook_runner.core.settings import APP
from runbook_runner.runner.live_run import Outcome
from runbook_runner.runner.replay.cassette import changes, relocation
from runbook_runner.runner.replay.recorded_run import RecordedRun
from runbook_runner.trajectory.diff import CallsCompared, ResultsCompared, compare_calls, compare_results
from runbook_runner.trajectory.store import read_events


@dataclass(frozen=True)
class Comparison:
    recorded: RecordedRun
    outcome: Outcome
    """Of the repetition."""
    sandbox: SandboxStarted | None
    results: ResultsCompared
    calls: CallsCompared

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
        """What else differs, for people."""
        yield from changes(self.recorded, self.sandbox)
        if not self._same_end:
            yield f"{self.recorded.status} then, {self.outcome.trajectory.status} now"

    def exit_code(self, *, strict: bool) -> ExitCode:
        """strict: another image or version of the agent fails, too."""
        if self.is_fork or (self.outcome.error and (not self._same_end or self.divergences["miss"])):
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
            "results": {"identical": self.results.identical, **asdict(self.results), "diffs": dict(self.results.diffs)},
            "tool_calls": {"identical": self.calls.identical, **asdict(self.calls)},
            "environment": list(self.environment()),
        }

    @property
    def _folded(self) -> dict[str, Any]:
        return self.outcome.trajectory.attributes.params

    @property
    def _same_end(self) -> bool:
        """True also when the recorded run has no end to compare with."""
        return self.recorded.status in ("running", self.outcome.trajectory.status)


def compare(recorded: RecordedRun, outcome: Outcome) -> Comparison:
    events = [item.event for item in read_events(outcome.folder)]
    sandbox = next((event for event in events if isinstance(event, SandboxStarted)), None)
    called = [event for event in events if isinstance(event, ToolCalled)]
    there = relocation(recorded.app, sandbox.app if sandbox else APP)
    return Comparison(
        recorded,
        outcome,
        sandbox,
        compare_results(recorded.folder, outcome.folder),
        compare_calls(recorded.tool_calls, called, there),
    )
