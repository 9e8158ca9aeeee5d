"""Runner, suite: runs the cells of a plan, several at once, until each group is known or the budget is used up."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from runbook_runner.core.errors import CancelledError, InputError, RunbookError
from runbook_runner.core.events import Recorded, RunStarted
from runbook_runner.core.settings import Settings
from runbook_runner.evaluation.gates import Gate, parse_gate
from runbook_runner.evaluation.points import Point
from runbook_runner.evaluation.statistics import SequentialTest
from runbook_runner.gateway import Budget, Spending
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.outcome import Outcome, outcome_in, spent_in
from runbook_runner.runner.pipeline import run
from runbook_runner.runner.request.prepare import prepare
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.suite.content import LABEL, Content, content_of, plan_digest
from runbook_runner.runner.suite.expected import expected_points
from runbook_runner.runner.suite.ledger import Ledger, opened
from runbook_runner.runner.suite.plan import Cell, Group, Plan
from runbook_runner.runner.suite.row import Row, row_of, row_of_error
from runbook_runner.runner.suite.suite_file import Suite
from runbook_runner.trajectory.folders import TRAJECTORIES

Watch = Callable[[Cell, Row | None], None]
"""Gets each cell when it begins, with `None`, and when it is done."""
_LOOK_S: Final = 0.5
"""Python handles a signal in the main thread, and one that comes just before a wait begins, or reaches another thread,
ends no wait: without this, Ctrl-C would count only when a run has ended."""


class Stopping:
    """As a `Cancellation`, for all runs of an evaluation."""

    def __init__(self) -> None:
        self._live = set[Cancellation]()
        self._lock = threading.RLock()  # a signal handler may come while its thread has it
        self.requested = False

    @contextmanager
    def cancels(self) -> Iterator[Cancellation]:
        """One that is requested with all others, for what is done in this block."""
        cancellation = Cancellation()
        with self._lock:
            self._live.add(cancellation)
        if self.requested:
            cancellation.request()
        try:
            yield cancellation
        finally:
            with self._lock:
                self._live.discard(cancellation)

    def request(self) -> None:
        self.requested = True
        for one in self._now():
            one.request()

    def abandon(self) -> None:
        for one in self._now():
            one.abandon()

    def _now(self) -> tuple[Cancellation, ...]:
        with self._lock:
            return tuple(self._live)


@dataclass
class Progress:
    """Of one group."""

    group: Group
    suite: Suite
    begun: int = 0
    rows: dict[int, Row] = field(default_factory=dict)
    """By repeat."""

    @property
    def counted(self) -> tuple[Row, ...]:
        """In the order of their repeats, up to where the pass rate was known: the runs that were under way then do not
        count, so that it does not matter how many there were."""
        rows = tuple(self._in_order())
        return rows[: self._known_after(rows)]

    def _in_order(self) -> Iterator[Row]:
        repeat = 1
        while repeat in self.rows:
            yield self.rows[repeat]
            repeat += 1

    def _known_after(self, rows: Sequence[Row]) -> int | None:
        if self.suite.until is None:
            return None
        test, passed = SequentialTest.of(self.suite.until, self.suite.margin), 0
        for total, row in enumerate(rows, 1):
            passed += row.passed
            if test.side(passed, total):
                return total
        return None

    @property
    def needs_more(self) -> bool:
        if self.begun >= self.suite.repeats:
            return False
        if self.suite.until is None:
            return True
        rows = tuple(self._in_order())
        return self._known_after(rows) is None and self.begun - len(rows) < self.suite.concurrency


@dataclass(frozen=True)
class Evaluated:
    plan: Plan
    groups: tuple[Progress, ...]
    resumed: int
    """Runs that an evaluation which was ended early had made."""
    kept: int
    """Further ones, of higher repeats than were asked for: the ledger keeps them."""
    ended: str | None
    """Why not all was run; `None` when it was."""


@contextmanager
def evaluated_suite(plan: Plan, watch: Watch, stopping: Stopping, *, fresh: bool) -> Iterator[Evaluated]:
    """Evaluates first; when the block has ended without an exception, what was done is forgotten, if all was: the
    reports that the block writes are then all that is left of it. fresh: does not go on with an evaluation of the same
    plan that was ended early. Every kind of run is prepared before the first one starts: raises as `prepare` and
    `ledger.opened`."""
    gates = tuple(map(parse_gate, plan.suite.gates))
    contents = prepare_all(plan)
    settings = Settings.load()
    with opened(settings.data, plan_digest(plan, settings.home, contents), fresh=fresh) as ledger:
        with suppress(CancelledError), stopping.cancels() as cancellation:
            _take_ended(plan, ledger, gates, cancellation)
        evaluation = _Evaluation(plan, contents, ledger, gates, watch, stopping)
        evaluated = evaluation.run()
        yield evaluated
        if evaluated.ended is None and not evaluated.kept:
            ledger.remove()


def prepare_all(plan: Plan) -> tuple[Content, ...]:
    """One run of each group; what those are made from. Raises as `prepare`, also for what only starts would find."""
    return tuple(_content(plan, group) for group in plan.groups)


def _content(plan: Plan, group: Group) -> Content:
    try:
        prepared = _prepared(plan, Cell(group, 1))
        prepared.require_ready()
        return content_of(group, prepared, plan.base)
    except RunbookError as error:
        error.where = ", ".join(filter(None, (group.key, error.where)))
        raise


def _prepared(plan: Plan, cell: Cell) -> PreparedRun:
    return prepare(replace(cell.group.request(plan.base), labels={**plan.base.labels, LABEL: cell.key[:200]}))


def _spending(suite: Suite, ledger: Ledger) -> Spending:
    """With what runs have used already, also those that were not ended."""
    spending = Spending(Budget(suite.max_cost_usd, suite.max_tokens, suite.max_calls), of="the budget of all runs")
    for row in ledger.rows.values():
        spending.add_earlier(row.cost_usd, row.tokens, row.calls)
    for folder in ledger.unfinished:
        spending.add_earlier(*spent_in(folder))
    return spending


def _take_ended(plan: Plan, ledger: Ledger, gates: Sequence[Gate], cancellation: Cancellation) -> None:
    """The runs that had come to their end when the process died, and whose row was not written. They had the secrets
    that are here now: with others it is another plan. Raises CancelledError."""
    for group in plan.groups:
        for repeat in range(1, plan.suite.repeats + 1):
            cancellation.check()
            cell = Cell(group, repeat)
            folder = ledger.begun.get(cell.key)
            if folder and (outcome := outcome_in(folder, _prepared(plan, cell).redactor().clean)):
                ledger.add(row_of(cell, outcome, _points(plan, cell, outcome, gates, cancellation)))


def _points(
    plan: Plan, cell: Cell, outcome: Outcome, gates: Sequence[Gate], cancellation: Cancellation
) -> tuple[Point, ...]:
    expected = expected_points(cell.group.case, outcome, plan.suite.compare, cancellation)
    return (*outcome.points(outcome.reached(gates)), *expected)


class _Evaluation:
    def __init__(
        self,
        plan: Plan,
        contents: Sequence[Content],
        ledger: Ledger,
        gates: Sequence[Gate],
        watch: Watch,
        stopping: Stopping,
    ):
        self._plan = plan
        self._contents = {group.key: content for group, content in zip(plan.groups, contents, strict=True)}
        self._ledger = ledger
        self._gates = gates
        self._watch = watch
        self._stopping = stopping
        self._lock = threading.Lock()
        self._spending = _spending(plan.suite, ledger)
        self._groups = tuple(Progress(group, plan.suite) for group in plan.groups)
        for progress in self._groups:
            for repeat in range(1, plan.suite.repeats + 1):
                if row := ledger.rows.get(Cell(progress.group, repeat).key):
                    progress.rows[repeat] = row
        self._resumed = sum(len(progress.rows) for progress in self._groups)
        self._kept = len(ledger.rows) - self._resumed

    def run(self) -> Evaluated:
        ended: str | None = None
        running = dict[Future[Row], tuple[Progress, int]]()
        with ThreadPoolExecutor(self._plan.suite.concurrency, "cell") as pool:
            while True:
                if any(self._skip_done(progress).needs_more for progress in self._groups):
                    ended = ended or self._must_end()
                while not ended and len(running) < self._plan.suite.concurrency and (todo := self._next()):
                    progress, repeat = todo
                    running[pool.submit(self._run, Cell(progress.group, repeat))] = todo
                if not running:
                    return Evaluated(self._plan, self._groups, self._resumed, self._kept, ended)
                done, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    progress, repeat = running.pop(future)
                    if row := self._row(future):
                        progress.rows[repeat] = row
                    else:
                        ended = ended or self._must_end()

    def _row(self, future: Future[Row]) -> Row | None:
        """`None` for a run that was cancelled. Ends all runs before it raises."""
        try:
            return future.result()
        except CancelledError:
            return None
        except BaseException:
            self._stopping.request()
            raise

    def _next(self) -> tuple[Progress, int] | None:
        """Of the groups that need more runs, the one with the fewest."""
        waiting = [progress for progress in self._groups if self._skip_done(progress).needs_more]
        if not waiting:
            return None
        progress = min(waiting, key=lambda one: one.begun)
        progress.begun += 1
        return progress, progress.begun

    def _skip_done(self, progress: Progress) -> Progress:
        while progress.begun + 1 in progress.rows:
            progress.begun += 1
        return progress

    def _must_end(self) -> str | None:
        if self._stopping.requested:
            return "it was cancelled"
        return self._spending.reason

    def _run(self, cell: Cell) -> Row:
        """Raises CancelledError when the evaluation is to stop, or what all runs may use is used up: the cell is run
        again another time."""
        with self._stopping.cancels() as cancellation:
            self._watch(cell, None)
            row = self._ran(cell, cancellation)
            with self._lock:
                self._ledger.add(row)
            self._watch(cell, row)
            return row

    def _ran(self, cell: Cell, cancellation: Cancellation) -> Row:
        cancellation.check()
        prepared = _prepared(self._plan, cell)
        if content_of(cell.group, prepared, self._plan.base) != self._contents[cell.group.key]:
            message = "What its runs are made from was changed while they were evaluated."
            raise InputError(message, where=cell.group.key, hint="Evaluate again, which begins anew.")
        share = Spending(Budget(), self._spending)
        prepared = replace(prepared, within=share)

        def begin(recorded: Recorded) -> None:
            if isinstance(started := recorded.event, RunStarted):
                place = prepared.settings.home / TRAJECTORIES / started.collection / started.task
                with self._lock:
                    self._ledger.begin(cell.key, place / started.trajectory_id)

        try:
            outcome = run(prepared, (begin,), cancellation)
        except CancelledError:
            raise
        except RunbookError as error:
            return row_of_error(cell, error)
        if isinstance(outcome.error, CancelledError):
            raise outcome.error
        if share.refused:
            with self._lock:
                self._ledger.drop(cell.key)
            raise CancelledError(f"{cell.key}: {self._spending.reason}.")
        return row_of(cell, outcome, _points(self._plan, cell, outcome, self._gates, cancellation))
