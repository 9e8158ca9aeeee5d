"""Runner: judges what runs that are over have made: one by the criteria of its runbook, or two beside each other."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from runbook_runner.core.clock import now_iso
from runbook_runner.core.disk.private import FILE, FOLDER
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.events import Event, ModelCalled, Usage
from runbook_runner.core.files import make_folder, write_atomically
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import JudgeChoice, Limits
from runbook_runner.core.text import counted
from runbook_runner.evaluation.judge.items import items_of
from runbook_runner.evaluation.judge.judge import judge_results
from runbook_runner.evaluation.judge.material import Material, material_of
from runbook_runner.evaluation.judge.model import Judge
from runbook_runner.evaluation.judge.pairwise import compare
from runbook_runner.evaluation.outputs import ResultsFolder
from runbook_runner.gateway import Cassette, Upstream
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.judge.access import judge_access
from runbook_runner.runner.judge.choose import judge_upstream, wanted_judge, warn_of_itself
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.limits import limits_of_stranger, read_limits
from runbook_runner.runner.request.secrets import provider_keys, redactor_for
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.sandbox.paths import app_restorer
from runbook_runner.trajectory.folders import JUDGE, RESULTS

JUDGED_FILE = "judged.json"


@dataclass(frozen=True)
class JudgeRequest:
    name: str
    """A trajectory's id or folder."""
    other: str | None = None
    """Another one, to be compared with it."""
    judge_model: str | None = None
    judge_samples: int | None = None
    judge_script: Path | None = None
    env_file: Path | None = None
    max_cost_usd: float | None = None


@dataclass(frozen=True)
class JudgedAgain:
    run: RecordedRun
    other: RecordedRun | None
    found: Mapping[str, Any]
    """As `judge_results` or `compare` says it, with `usage` and `path`: the folder of the calls."""


def judge_again(request: JudgeRequest, tell: Callable[[str], None]) -> JudgedAgain:
    """tell: gets what its user should know before it begins. Raises InputError, NotReadyError and RecordingError."""
    limits, asked = read_limits({"max_cost_usd": request.max_cost_usd}), Settings.load()
    run = _ended(asked.require_home(), request.name)
    other = _ended(asked.require_home(), request.other) if request.other else None
    if other is None and not items_of(run.spec.criteria):
        raise InputError(
            "The runbook of this run has no rubric, and is not of the short form: a judge has nothing to decide.",
            where=str(run.folder),
            hint="Two runs can be compared all the same: `runbook judge RUN OTHER`.",
        )
    environ = user_variables(request.env_file).all()
    keys = provider_keys(environ)
    choice = wanted_judge(request.judge_model, request.judge_samples, request.judge_script, asked.judge_model, keys)
    if choice is None:
        raise InputError("No judge is named.", hint=_naming_hint(run.spec.judge))
    upstream = judge_upstream(run.spec.model_copy(update={"judge": choice}), environ, request.judge_script, None)
    assert upstream
    if upstream.address:
        tell(f"The results go to the judge, {choice.model} at {upstream.address}.")
    for each in filter(None, (run, other)):
        warn_of_itself(choice, each.spec, tell)
        if missing := _missing(each, environ):
            tell(
                f"The judge is shown no PDF file of {each.trajectory_id}: secrets that it had may be in them, and are "
                f"not known here: {', '.join(missing)}. Give them with --env-file FILE."
            )
    if other and other.spec.mission != run.spec.mission:
        tell(f"The two runs had different tasks ({_difference(run, other)}): both are judged by that of the first.")
    calls = _Calls(_new_folder(run.folder / JUDGE))
    ids = {"trajectory_id": run.trajectory_id, "other": other.trajectory_id if other else None}
    found: dict[str, Any] = {"model": choice.model, "samples": choice.samples, "errors": 1}
    try:
        with _judging(run, other, choice, upstream, environ, limits, calls) as judge:
            found = _compared(judge, run, other, environ) if other else _judged(judge, run, environ)
    finally:  # also when it is interrupted: its calls have been paid for
        body = {**found, **calls.used()}
        _write(calls.folder, {**ids, "created": now_iso(), **body})
    return JudgedAgain(run, other, {**body, "path": str(calls.folder)})


def _naming_hint(recorded: JudgeChoice | None) -> str:
    """recorded: who judged the run. It may be a stranger's, so it is not asked at this user's cost unless it is
    named."""
    model = shlex.quote(recorded.model) if recorded and recorded.provider else "MODEL"
    was = f" (the recording's, asked {counted(recorded.samples, 'time')})" if recorded and recorded.provider else ""
    return f"Name one with --judge-model {model}{was}, or set RUNBOOK_JUDGE_MODEL."


class _Calls:
    """What the judge's calls were, and where they are recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usage = Usage()
        self.spent = Usage()
        self.sources: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, ModelCalled):
            self.usage += event.usage
            self.spent += event.usage if event.source == "provider" else Usage()
            self.sources[event.source] = self.sources.get(event.source, 0) + 1

    def used(self) -> dict[str, Any]:
        return {"usage": self.usage.model_dump(), "model_calls": self.sources, "spent": self.spent.model_dump()}


@contextmanager
def _judging(
    run: RecordedRun,
    other: RecordedRun | None,
    choice: JudgeChoice,
    upstream: Upstream,
    environ: Mapping[str, str],
    limits: Limits,
    calls: _Calls,
) -> Iterator[Judge]:
    had = {name: environ[name] for each in (run, other) if each for name in each.secrets if environ.get(name)}
    redactor = redactor_for(run.spec, environ, upstream.secret_values(), had)
    most = (run.spec.limits if run.is_made_here else limits_of_stranger(run.spec.limits)).disk_bytes
    cassette = Cassette(calls.folder, redactor, Settings.load().record_mode, most_bytes=most)
    task, to_app, cancellation = run.spec.mission, app_restorer(run.app), Cancellation()
    with judge_access(upstream, choice, cassette, task, to_app, limits, calls, cancellation) as judge:
        yield judge


def _missing(run: RecordedRun, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of the secrets that the run had and that have no value now."""
    return tuple(name for name in run.secrets if not environ.get(name))


def _judged(judge: Judge, run: RecordedRun, environ: Mapping[str, str]) -> dict[str, Any]:
    results = ResultsFolder(run.folder / RESULTS)
    judge = judge._replace(clean=_clean(judge, run, environ))
    judged = judge_results(
        judge, run.spec.criteria, results, run.spec.outputs, Cancellation().ends_with, lambda _: None
    )
    assert judged.body
    return judged.body


def _compared(judge: Judge, run: RecordedRun, other: RecordedRun, environ: Mapping[str, str]) -> dict[str, Any]:
    first, second = (_half(one, _clean(judge, one, environ)) for one in (run, other))
    return compare(judge, run.spec.criteria, first, second)


def _half(run: RecordedRun, clean: Callable[[str], str] | None) -> Material:
    results = ResultsFolder(run.folder / RESULTS)
    return material_of(results, run.spec.outputs, app_restorer(run.app), clean, Cancellation().ends_with, share=2)


def _clean(judge: Judge, run: RecordedRun, environ: Mapping[str, str]) -> Callable[[str], str] | None:
    return None if _missing(run, environ) else judge.clean


def _difference(run: RecordedRun, other: RecordedRun) -> str:
    if run.spec.title != other.spec.title:
        return f"{run.spec.title!r} and {other.spec.title!r}"
    own, others = run.spec.parameters, other.spec.parameters
    names = sorted(name for name in {**own, **others} if own.get(name) != others.get(name))
    return f"other values of {', '.join(names)}" if names else "the text of the runbook has changed"


def _ended(home: Path, name: str) -> RecordedRun:
    run = read_recorded_run(home, name)
    if run.end is None:
        raise InputError("This run has not ended.", where=str(run.folder))
    return run


def _new_folder(judge: Path) -> Path:
    """Numbered, as nothing that was judged before is to be lost. Raises RecordingError."""
    try:
        make_folder(judge, FOLDER)
        for number in count(1):
            try:
                (judge / str(number)).mkdir(FOLDER)
                return judge / str(number)
            except FileExistsError:
                continue
    except OSError as error:
        raise RecordingError(f"The judge's calls can't be recorded: {error.strerror}.", where=str(judge)) from error
    raise AssertionError("there is always a next number")


def _write(folder: Path, body: Mapping[str, Any]) -> None:
    try:
        write_atomically(folder / JUDGED_FILE, json.dumps(body, indent=1, ensure_ascii=False) + "\n", mode=FILE)
    except OSError as error:
        raise RecordingError(f"What the judge said can't be written: {error.strerror}.", where=str(folder)) from error
