"""Runner: a repetition beside the run it repeats: results, tool calls, requests and environment."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_runner.core.errors import AgentError, ExitCode
from runbook_runner.core.events import SandboxStarted
from runbook_runner.core.settings import APP
from runbook_runner.core.text import counted
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.replay.cassette import changes, relocation
from runbook_runner.runner.replay.course import read_course, tool_calls_of
from runbook_runner.runner.replay.judged import Judged, judged_in
from runbook_runner.runner.replay.recorded_run import End, RecordedRun, end_of
from runbook_runner.trajectory.diff.calls import CallsCompared, compare_calls
from runbook_runner.trajectory.diff.results import ResultsCompared, compare_results
from runbook_runner.trajectory.folders import RESULTS


@dataclass(frozen=True)
class Comparison:
    recorded: RecordedRun
    outcome: Outcome
    """Of the repetition."""
    end: End | None
    """Its end."""
    judged: Judged
    sandbox: SandboxStarted | None
    results: ResultsCompared | None
    """`None`, and so the calls: it could not take place or was stopped, so there is nothing to compare."""
    calls: CallsCompared | None
    answers: int
    """How often a model answered now."""

    @property
    def is_fork(self) -> bool:
        return bool(self._folded["replay"]["mode"] == "fork")

    @property
    def divergences(self) -> dict[str, int]:
        """Severity → how many requests differed so from the recorded ones."""
        return self.outcome.divergences or {}

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
        if self.answers != self.recorded.answers and not self.is_fork:
            yield f"{counted(self.recorded.answers, 'model call')} then, {self.answers} now"
        yield from self._changed_end()

    def differences(self, *, strict: bool) -> Iterator[str]:
        """What makes the repetition not the same, for people. strict: another image or version of the agent, too."""
        if self.results is None:
            return
        yield from self.results.differences()
        yield from self.environment() if strict else self._changed_end()
        for severity in ("major", "miss"):
            if count := self.divergences[severity]:
                yield f"requests that are not as recorded: {count} {severity}"

    @property
    def is_exact(self) -> bool:
        """Whether nothing at all differs, be it of no matter."""
        told = any(self.differences(strict=True)) or any(self.divergences.values())
        return bool(self.calls and self.calls.identical and not told)

    @property
    def ends_as_a_run(self) -> bool:
        """What counts is how it ended itself: it is a fork, or its failure is not the recorded one."""
        return self.is_fork or self.results is None or bool(self.outcome.error and not self._fails_as_recorded)

    def exit_code(self, *, strict: bool) -> ExitCode:
        """strict: as for `differences`."""
        if self.ends_as_a_run:
            return self.outcome.exit_code
        return ExitCode.VERDICT_FAIL if any(self.differences(strict=strict)) else ExitCode.PASS

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

    def _changed_end(self) -> Iterator[str]:
        """How it ended is nothing when the recorded run has no end to compare with."""
        if self.recorded.end not in (None, self.end):
            yield f"{self.recorded.end} then, {self.end} now"
        yield from self.recorded.judged.changes(self.judged)

    @property
    def _fails_as_recorded(self) -> bool:
        return self.recorded.end == self.end and not self.divergences["miss"]


def compare(recorded: RecordedRun, outcome: Outcome) -> Comparison:
    course = read_course(outcome.folder)
    end, judged, answers = end_of(course), judged_in(course), course.answers
    sandbox = course.one(SandboxStarted)
    if outcome.error and outcome.error.exit_code != AgentError.exit_code:
        return Comparison(recorded, outcome, end, judged, sandbox, results=None, calls=None, answers=answers)
    there = relocation(recorded.app, sandbox.app if sandbox else APP)
    results = compare_results(recorded.folder / RESULTS, outcome.folder / RESULTS, there)
    calls = compare_calls(tool_calls_of(recorded.folder), tool_calls_of(outcome.folder), there)
    return Comparison(recorded, outcome, end, judged, sandbox, results, calls, answers)


def _json(compared: ResultsCompared | CallsCompared, **more: Any) -> dict[str, Any]:
    return {"identical": compared.identical, **asdict(compared), **more}
