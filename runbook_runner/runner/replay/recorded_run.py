"""Runner: a recorded run, read from its trajectory folder: its spec, where it ran and how it ended."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from pydantic import ValidationError

from runbook_runner.core import ids, settings
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import AgentError, InputError
from runbook_runner.core.events import AgentFinished, AgentStarted, RunFinished, RunStarted, SandboxStarted, Status
from runbook_runner.core.files import read_stream
from runbook_runner.core.formats.json_toml import require_few_values
from runbook_runner.core.invalid import problem_of
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import printable_name
from runbook_runner.runbook.parts.steps import step_blocks
from runbook_runner.runner.replay.course import Course, read_course
from runbook_runner.runner.replay.judged import Judged, judged_in
from runbook_runner.runner.request.valid_spec import require_valid_spec
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.trajectory.folders import MOST_SPEC_BYTES, SPEC_FILE, TRAJECTORIES
from runbook_runner.trajectory.index.names import find_folder
from runbook_runner.trajectory.index.own_runs import is_made_here
from runbook_runner.trajectory.store import read_events, require_no_links

MODEL_FOLDER = "model"
A_FOLDER = re.compile(r"/[^\0\n]{1,511}")


class End(NamedTuple):
    """How a run ended, as far as its repetition has to end in the same way."""

    status: Status
    cause: str | None = None
    """The kind of the agent's failure, or the code of another error; `None` without an error."""
    exit_code: int | None = None
    """Of an agent that failed."""

    def __str__(self) -> str:
        code = None if self.exit_code is None else f"exit code {self.exit_code}"
        details = ", ".join(filter(None, (self.cause, code)))
        return f"{self.status} ({details})" if details else self.status


@dataclass(frozen=True)
class RecordedRun:
    """What a replay must know of the run that it repeats."""

    folder: Path
    trajectory_id: str
    spec: RunSpec
    end: End | None
    """`None` when no end was recorded."""
    judged: Judged
    backend: str | None
    app: str
    """Where `/app` was in its sandbox."""
    image: str | None
    image_digest: str | None
    image_pinned: str | None
    agent_version: str | None
    secrets: tuple[str, ...]
    """Variables of the secrets that it had."""
    model_calls: int
    """How many, recorded in the cassette or not."""
    answers: int
    """How many of them a model answered."""
    is_provisional: bool
    """Some of its own answers were given to an agent with another mission."""
    is_made_here: bool
    """This user's machine has made it, and its spec is the one of then."""

    @property
    def sandbox(self) -> str | None:
        """The backend to repeat it in; `None` where it isolated nothing: a recording can't choose that."""
        row = BACKENDS.get(self.backend or "")
        return row.name if row and row.isolates else None

    @property
    def told(self) -> str:
        """As a command takes it."""
        is_stored = TRAJECTORIES in (parent.name for parent in self.folder.parents[2:3])
        return self.trajectory_id if is_stored else quote(printable_name(str(self.folder)))

    @property
    def image_told(self) -> str:
        """Its image and the digest of it, for people."""
        image = self.image or self.spec.image or self.spec.snapshot or settings.DEFAULT_SNAPSHOT
        return printable_name(f"{image[:300]} ({self.image_digest[:100]})" if self.image_digest else image[:300])

    @property
    def cassette(self) -> Path:
        return self.folder / MODEL_FOLDER

    def require_model_calls(self) -> None:
        """Raises InputError when there are none that could be replayed."""
        if not self.model_calls:
            raise InputError("The agent of this run made no model calls.", where=str(self.folder))


def read_recorded_run(home: Path, name: str, near: Iterable[Path] = ()) -> RecordedRun:
    """name: a trajectory's folder, or its id below `home`. near: the folders from which upwards its agent and its
    snapshot are looked for: those that it names are not believed. Raises InputError when there is none or it can't be
    read."""
    folder = find_folder(home, name)
    require_no_links(folder)
    if not os.path.lexists(folder / SPEC_FILE):
        raise _without_spec(folder)
    spec = _spec(folder / SPEC_FILE).model_copy(update={"near": tuple(str(path.absolute()) for path in near)})
    require_valid_spec(spec)
    course = read_course(folder)
    started = course.one(RunStarted)
    if started is None:
        raise InputError("This run was recorded without a beginning.", where=str(folder))
    if not ids.is_name(started.trajectory_id):  # it becomes a variable of a sandbox, and a word in messages
        raise InputError("This run was recorded with an id that can't be.", where=str(folder), hint=ids.NAME_HINT)
    sandbox = course.one(SandboxStarted)
    if sandbox and not A_FOLDER.fullmatch(sandbox.app):  # texts are searched for it, and it is put into others
        raise InputError("This run was recorded in a folder that can't be.", where=str(folder))
    agent = course.one(AgentStarted)
    return RecordedRun(
        folder=folder,
        trajectory_id=started.trajectory_id,
        spec=spec,
        end=end_of(course),
        judged=judged_in(course),
        backend=sandbox.backend if sandbox else None,
        app=sandbox.app if sandbox else settings.APP,
        image=sandbox.image if sandbox else None,
        image_digest=sandbox.image_digest if sandbox else None,
        image_pinned=sandbox.image_pinned if sandbox else None,
        agent_version=agent.version if agent else None,
        secrets=agent.secrets if agent else (),
        model_calls=course.model_calls,
        answers=course.answers,
        is_provisional=bool(started.replay and started.replay.provisional and course.is_replayed),
        is_made_here=is_made_here(folder, settings.user_data()),
    )


def _without_spec(folder: Path) -> InputError:
    first = next(read_events(folder), None)
    origin = first.event.origin if first and isinstance(first.event, RunStarted) else None
    hint = f"`runbook runs show {folder.name}` shows what is known of it."
    if origin:
        said = f"What this run was asked for is not recorded, as it was imported ({printable_name(origin)})"
    else:
        said = f"The {SPEC_FILE} of this run is gone, which has what it was asked for"
    return InputError(f"{said}: it can be neither replayed nor run again.", where=str(folder), hint=hint)


def end_of(course: Course) -> End | None:
    """Returns how the run ended; `None` when its log has no end."""
    run, agent = course.one(RunFinished), course.one(AgentFinished)
    if run is None:
        return None
    if run.error_code == AgentError.code and agent and agent.error:
        return End(run.status, agent.error_kind, agent.exit_code)
    return End(run.status, run.error_code)


def _spec(path: Path) -> RunSpec:
    try:
        with open_regular(path) as file:
            raw = read_stream(file, str(path), "spec", MOST_SPEC_BYTES)
        require_few_values(raw, str(path))
        spec = RunSpec.model_validate_json(raw)
    except OSError as error:
        raise InputError(f"The spec of this run can't be read: {error.strerror}.", where=str(path)) from error
    except ValidationError as error:
        problem = problem_of(error)
        where = ": ".join(filter(None, (str(path), ".".join(map(str, problem.place)))))
        raise InputError(f"This is not the spec of a run of this version: {problem.message}.", where=where) from error
    if "blocks" in spec.model_fields_set:
        return spec
    return spec.model_copy(update={"blocks": step_blocks(spec.mission)})  # such a run took them from its mission
