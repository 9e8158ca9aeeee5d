"""Runner, watch: the session: what was saved or asked for, one thing after the other, and the runs that follow.

One thread holds the session; each run has a thread of its own. What the session tells goes to an `Edge`, so that a
terminal, or another edge, shows it.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from runbook_runner.core.errors import InputError, RunbookError
from runbook_runner.core.settings import Settings
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import STDIN, load
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.pipeline import run
from runbook_runner.runner.request.prepare import prepare
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.request import Ask, Question, RunRequest
from runbook_runner.runner.watch.contents import Change, Contents
from runbook_runner.runner.watch.edge import Edge, OnBusy, Repeated
from runbook_runner.runner.watch.files import Used, of_recording, own_output, used_by
from runbook_runner.runner.watch.recordings import Recordings, Saved
from runbook_runner.runner.watch.warm import Warm
from runbook_runner.runner.watch.watcher import Watcher


@dataclass(frozen=True)
class WatchOptions:
    on_busy: OnBusy = "cancel"
    """What a change does to a run that is under way."""
    check_only: bool = False
    strict: bool = False
    """No answer is taken from a recording after an edit of the mission, whichever step it is in."""
    recording: str | None = None
    """A run whose answers the first run takes; `None`: the first run asks for every one."""


@dataclass(frozen=True)
class _Start:
    """That it is to be run again. full: nothing is answered from a recording. forced: also with errors."""

    full: bool = False
    forced: bool = False


@dataclass
class _Running:
    thread: threading.Thread
    cancellation: Cancellation


class Session:
    """`hold` is the session; every other method may be called from any thread and from a signal handler."""

    def __init__(self, request: RunRequest, options: WatchOptions, edge: Edge, ask: Ask | None = None):
        """request: its document is a path. ask: as for `prepare`, at the first run only. Raises InputError for a
        document that is no file, and for a recording that can't be read."""
        name = str(request.document)
        if name == STDIN or "://" in name:
            raise InputError("Only a file can be watched.", where=name, hint="Save it, and watch the file.")
        self.document = Path(load(name).name).absolute()
        self._request, self._options, self._edge, self._ask = request, options, edge, ask
        self._answers: dict[str, str] = {}
        self._check_only = options.check_only
        self._wishes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._contents = Contents()
        self._used = Used(frozenset(), frozenset(), frozenset())
        self._own: tuple[Path, ...] = ()
        near = (self.document.parent, *request.near)
        self._recordings = Recordings(Settings.load().require_home(), near, request.model_script, request.judge_script)
        self._running: _Running | None = None
        self._next: _Start | None = None
        """What is to be done when the run under way is over."""
        self._quits = False
        self._watcher = Watcher(lambda touched: self.do(lambda: self._look(touched)), self._unwatched)
        self._warm = Warm()

    # --- from any thread ---------------------------------------------------------------------------------------------

    def do(self, job: Callable[[], None]) -> None:
        """Has this done in the session's thread, after what is to be done already."""
        self._wishes.put(job)

    def rerun(self, *, full: bool = False) -> None:
        """full: nothing is answered from a recording."""
        self.do(lambda: self._start(_Start(full, forced=True)))

    def toggle_check_only(self) -> None:
        def toggle() -> None:
            self._check_only = not self._check_only
            if self._check_only:
                self._edge.checked()
            self._edge.waits(check_only=self._check_only)

        self.do(toggle)

    def quit(self) -> None:
        """Cancels the run that is under way, and ends the session when that is over."""
        self.do(self._quit)

    @property
    def cancellation(self) -> Cancellation | None:
        """Of the run that is under way."""
        running = self._running
        return running.cancellation if running else None

    @property
    def is_running(self) -> bool:
        return self._running is not None

    # --- in the session's thread -------------------------------------------------------------------------------------

    def hold(self, begun: Callable[[], None] = lambda: None) -> None:
        """Returns when the session is over. begun: is called once the first run has started, and nothing is asked any
        more. Raises RunbookError when the first run can't be prepared although the check finds no error: no edit of
        the runbook would help."""
        with self._watcher, self._warm:
            try:
                self._begin()
                begun()
                while self._running or not self._quits:
                    self._wishes.get()()
            finally:
                if self._running:  # this thread ends with an error
                    self._running.cancellation.request()
                    self._running.thread.join()

    def _begin(self) -> None:
        if self._options.recording:
            self._recordings.take(self._options.recording)
        self._follow(None)
        can_run = self._edge.checked()
        if can_run and not self._check_only:
            scripts = self._recordings.scripts_now()
            self._run(self._prepared(self._ask), scripts, full=False)
        else:
            self._edge.waits(check_only=self._check_only)
        self._ask = None

    def _look(self, touched: frozenset[Path]) -> None:
        files = {path for path in self._used.every() if self._counts(path)}
        # A run copies its results to `--out` while it is under way.
        copied = {path for path in files if self._running and self._is_copied(path)}
        changes = self._contents.changes(files, touched, copied)
        if changes and not self._quits:
            self._edge.changed(changes)
            self._take_again(changes)
            self._start(_Start())

    def _take_again(self, changes: Sequence[Change]) -> None:
        """The user's recording, when it is another one now."""
        name = self._options.recording
        parts = {Path(os.path.abspath(path)) for path in of_recording(name)}  # noqa: PTH100
        if name and any(change.path in parts for change in changes):
            try:
                self._recordings.take(name)
            except InputError as error:
                self._edge.refused(error)

    def _counts(self, path: Path) -> bool:
        """What the user has named counts wherever it is; what is only in a folder does not where runs write."""
        return path in self._used.files or not any(path.is_relative_to(own) for own in self._own)

    def _is_copied(self, path: Path) -> bool:
        out = self._request.options.out
        return bool(out) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out))  # type: ignore[arg-type]

    def _start(self, start: _Start) -> None:
        """Checks it, and runs it when it can be run: at once, or when the run that is under way is over."""
        if self._quits:
            return
        can_run = self._edge.checked()
        if (not can_run and not start.forced) or (self._check_only and not start.forced):
            self._waits()
            return
        if self._running:
            self._next = _Start(start.full or bool(self._next and self._next.full), start.forced)
            self._edge.busy(self._options.on_busy)
            if self._options.on_busy == "cancel":
                self._running.cancellation.request()
            return
        try:
            scripts = self._recordings.scripts_now()
            self._run(self._prepared(None), scripts, full=start.full)
        except RunbookError as error:
            self._edge.refused(error)
            self._follow(None)
            self._waits()

    def _waits(self) -> None:
        if not self._running:
            self._edge.waits(check_only=self._check_only)

    def _prepared(self, ask: Ask | None) -> PreparedRun:
        """Raises RunbookError."""
        source = load(str(self.document))
        declared = {parameter.name for parameter in parse(source.text, source.name).parameters}
        kept = {name: value for name, value in self._answers.items() if name in declared}
        request = replace(
            self._request,
            document=source,
            parameters={**kept, **self._request.parameters},
            from_recording=self._options.recording is not None,
        )

        def remembered(question: Question) -> str:
            assert ask
            answer = ask(question)
            if not (question.yes_or_no or question.is_secret):
                self._answers[question.name] = answer
            return answer

        return prepare(request, remembered if ask else None)

    def _run(self, prepared: PreparedRun, scripts: str, *, full: bool) -> None:
        """scripts: as `Recordings.add` takes it."""
        self._follow(prepared)
        prepared = self._warm.warmed(prepared)
        if not full:
            try:
                prepared = self._recordings.answered_from(prepared, strict=self._options.strict)
            except InputError as error:
                self._edge.warn(f"Nothing is answered from the last run: {error}")
        cancellation = Cancellation()
        thread = threading.Thread(target=self._work, args=(prepared, scripts, cancellation), name="run")
        self._running = _Running(thread, cancellation)
        thread.start()

    def _work(self, prepared: PreparedRun, scripts: str, cancellation: Cancellation) -> None:
        """In the run's thread."""
        saved, outcome, error = Saved(), None, None
        try:
            with self._edge.running(prepared, cancellation) as readers:
                outcome = run(prepared, (saved, *readers), cancellation)
        except BaseException as caught:
            error = caught
        repeated = Repeated(prepared, outcome, error, saved)
        self.do(lambda: self._edge.ended(repeated))
        try:
            if outcome:  # reading a large recording takes a second or two
                self._recordings.add(outcome.folder, scripts, cancelled=cancellation.requested)
        finally:
            self.do(lambda: self._ended(repeated))

    def _ended(self, repeated: Repeated) -> None:
        assert self._running
        self._running.thread.join()
        self._running = None
        self._contents.take([path for path in self._used.files if self._is_copied(path)])
        if repeated.error and not isinstance(repeated.error, RunbookError):
            raise repeated.error
        start, self._next = self._next, None
        if start and not self._quits:
            self._start(start)
        elif not self._quits:
            self._waits()

    def _quit(self) -> None:
        self._quits = True
        if self._running:
            self._running.cancellation.request()

    def _follow(self, prepared: PreparedRun | None) -> None:
        """What a run uses counts from now on. When it can't be prepared, what the last one used counts as well."""
        used = used_by(self.document, self._request, prepared, self._options.recording)
        if prepared is None:
            before = self._used
            used = Used(used.files | before.files, used.folders | before.folders, used.private | before.private)
        else:
            self._own = own_output(prepared)
        self._used = used
        self._contents.follow({path for path in used.every() if self._counts(path)}, used.private)
        self._watcher.follow(used.files, used.folders)

    def _unwatched(self, why: str) -> None:
        self.do(lambda: self._edge.warn(why))
