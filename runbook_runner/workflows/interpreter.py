"""Workflows: the core. It is told what has happened and says what comes next, and does nothing itself: the same history
always gives the same command, so whoever drives it goes on after a kill by telling it the history again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Event
from runbook_runner.core.text import counted
from runbook_runner.workflows.parameters import ACTIVITY, Scope, resolve
from runbook_runner.workflows.paths import ENV, INIT_PARAMS, Run
from runbook_runner.workflows.step_events import ChildFinished, StepAnswered, StepFinished, StepStarted

MOST_STEPS: Final = 10_000
"""That one run executes; jumps may lead round and round."""
NEXT_STEP: Final = "next_step"
"""The output by which an activity that may do so says where the workflow goes on."""


@dataclass(frozen=True)
class Retry:
    """How often a step that fails is tried again, and after how long."""

    attempts: int = 1
    """All of them."""
    delay_s: float = 1.0
    """Before the second."""
    factor: float = 2.0
    """Each further delay is so many times the one before."""
    longest_s: float = 300.0

    def delay_before(self, attempt: int) -> float:
        """attempt: 2 or more."""
        return min(self.longest_s, self.delay_s * self.factor ** min(attempt - 2, 64))


class Flow(Protocol):
    """What the core reads of a workflow's document."""

    @property
    def init_params(self) -> Mapping[str, Any]: ...

    @property
    def steps(self) -> Sequence[str]: ...

    @property
    def configs(self) -> Mapping[str, Mapping[str, Any]]: ...

    def own_parameters(self, step: str) -> frozenset[str]:
        """Names of the parameters of the step's activity."""

    def jumps(self, step: str) -> bool:
        """Whether its activity says where the workflow goes on."""

    def retry(self, step: str) -> Retry: ...


class Execute(NamedTuple):
    """Start an attempt at this step, or go on with one that had begun."""

    step: str
    visit: int
    attempt: int
    activity: str
    parameters: dict[str, Any]
    depends_on: tuple[str, ...]
    absent: Mapping[str, str]
    """Key of the configuration → why its path leads nowhere."""
    delay_s: float
    """To wait before it begins."""
    had_begun: bool
    """It was started before, and whether it did what it does is not known."""
    children: Mapping[int, dict[str, Any]]
    """Of those that have ended: index → reference."""
    answer: StepAnswered | None
    """To what it asks."""


class Finish(NamedTuple):
    error: str | None
    """`<step>: <message>` of what ended it; `None`: all is done."""


Command = Execute | Finish


@dataclass
class _Attempt:
    begun: StepStarted
    ended: StepFinished | None = None
    children: dict[int, dict[str, Any]] = field(default_factory=dict)
    answer: StepAnswered | None = None


class Interpreter:
    def __init__(self, flow: Flow, env: Mapping[str, Any], runs: Mapping[Run, Mapping[str, Any]]):
        """env: values that paths may read. runs: those of other runs that are named."""
        self._flow = flow
        self._runs = runs
        self._values: dict[str, Any] = {INIT_PARAMS: flow.init_params, ENV: env}
        self._next = 0
        """Index of the step to come when nothing is open."""
        self._visits: Counter[str] = Counter()
        self._open: _Attempt | None = None
        self._error: str | None = None

    def see(self, event: Event) -> None:
        """Takes the next event of the history; others than those of steps mean nothing here."""
        if isinstance(event, StepStarted):
            before = self._open
            if before and (before.begun.step, before.begun.visit) == (event.step, event.visit):
                self._open = _Attempt(event, None, before.children, before.answer)
            else:
                self._open = _Attempt(event)
            self._visits[event.step] = event.visit
        elif self._open is None:
            return
        elif isinstance(event, ChildFinished):
            self._open.children[event.index] = event.reference
        elif isinstance(event, StepAnswered):
            self._open.answer = event
        elif isinstance(event, StepFinished):
            self._end(self._open, event)

    def _end(self, attempt: _Attempt, event: StepFinished) -> None:
        step = event.step
        if event.status != "completed":
            attempt.ended = event
            if event.status == "cancelled" or event.is_final or event.attempt >= self._flow.retry(step).attempts:
                self._open, self._error = None, f"{step}: {event.error or event.status}"
            return
        self._open = None
        outputs = event.outputs if isinstance(event.outputs, dict) else {}
        self._values[step] = {"inputs": attempt.begun.inputs, "outputs": outputs}
        self._next = self._flow.steps.index(step) + 1
        if self._flow.jumps(step) and (name := outputs.get(NEXT_STEP)):
            if name in self._flow.steps:
                self._next = self._flow.steps.index(name)
            else:
                self._error = f"{step}: There is no step {name!r} to go on with."

    def next(self) -> Command:
        """Raises InputError for a step whose parameters can't be put together."""
        if self._error is not None:
            return Finish(self._error)
        if self._open is not None:
            return self._again(self._open)
        if self._next >= len(self._flow.steps):
            return Finish(None)
        if self._visits.total() >= MOST_STEPS:
            return Finish(
                f"{self._flow.steps[self._next]}: {counted(MOST_STEPS, 'step')} have been executed; no more are."
            )
        return self._first(self._flow.steps[self._next])

    def _first(self, step: str) -> Command:
        config = self._flow.configs[step]
        try:
            made = resolve(config, self._flow.own_parameters(step), Scope(self._values, self._runs))
        except InputError as error:
            return Finish(f"{step}: {error.message}")
        return Execute(
            step,
            self._visits[step] + 1,
            1,
            str(config[ACTIVITY]),
            made.parameters,
            made.depends_on,
            made.absent,
            delay_s=0.0,
            had_begun=False,
            children={},
            answer=None,
        )

    def _again(self, attempt: _Attempt) -> Execute:
        begun, ended = attempt.begun, attempt.ended
        number = begun.attempt + (1 if ended else 0)
        return Execute(
            begun.step,
            begun.visit,
            number,
            begun.activity,
            begun.inputs,
            begun.depends_on,
            {},
            delay_s=self._flow.retry(begun.step).delay_before(number) if ended else 0.0,
            had_begun=ended is None,
            children=dict(attempt.children),
            answer=attempt.answer,
        )
