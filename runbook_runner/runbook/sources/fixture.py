"""Room `runbook`: a saved input of a runbook, `examples/<id>/input.json` (contract §3.14)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from runbook_runner.core.disk.git_index import is_of_user
from runbook_runner.core.disk.repository import is_hidden, is_no_project
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_folder, read_found, text_of
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.invalid import problem_of
from runbook_runner.core.settings import INPUT_ENTRIES
from runbook_runner.core.text import did_you_mean

_FORM: Final = 'Its form: {"params": {"vars": {"NAME": "value"}}, "files": [{"path": "data.csv"}]}.'


@dataclass(frozen=True)
class FixtureFile:
    path: Path
    """Absolute; exists."""
    role: str
    note: str
    name: str
    """What the agent should see it as: `filename` where the fixture gives one, else the file's own name."""


@dataclass(frozen=True)
class Fixture:
    source: Path
    """The `input.json`."""
    title: str
    prompt: str
    """What a user would say beside the runbook; empty when there is none."""
    vars: dict[str, Any]
    """Parameter values."""
    files: tuple[FixtureFile, ...]
    warnings: tuple[str, ...]
    """One for each key that is not known and therefore ignored: keys were added over time."""


class _Object(BaseModel):
    model_config = ConfigDict(extra="allow")

    def unknown(self) -> dict[str, Any]:
        return self.model_extra or {}


class _File(_Object):
    path: str
    role: str | None = None
    note: str | None = None
    filename: str | None = None


class _Params(_Object):
    vars: dict[str, Any] | None = None
    prompt: str | None = None


class _Input(_Object):
    title: str | None = None
    prompt: str | None = None
    params: _Params | None = None
    files: list[_File] | None = None


def load_fixture(path: str | Path) -> Fixture:
    """Reads an `input.json`, given by its path or its folder's.

    The files it names are relative to its folder. Raises InputError that names the file or the key: not there, not
    JSON, a wrong type, a listed file that is missing, no file, or outside the folder.
    """
    given = Path(path)
    source = given / "input.json" if is_folder(given) else given
    text = text_of(read_found(source, "input file"), str(source))
    body = _validated(read_json(text, str(source), as_written=True, unique=True), source)
    if len(body.files or ()) > INPUT_ENTRIES:
        raise InputError(
            f"It names more than {INPUT_ENTRIES:,} files, which is what a run may have.", where=str(source)
        )
    params = body.params or _Params()
    return Fixture(
        source=source,
        title=body.title or "",
        prompt=body.prompt or params.prompt or "",
        vars=params.vars or {},
        files=tuple(_file(source, item) for item in body.files or ()),
        warnings=tuple(_warnings(body, params, source)),
    )


def _warnings(body: _Input, params: _Params, source: Path) -> Iterator[str]:
    files = {f"files.{index}.": item for index, item in enumerate(body.files or ())}
    for place, part in ({"": body, "params.": params} | files).items():
        for key in part.unknown():
            hint = did_you_mean(key, type(part).model_fields)
            if hint is None and part is params:
                hint = "The values of parameters belong in params.vars."
            yield " ".join(filter(None, [f"{source}: The key {place + key!r} is unknown and ignored.", hint]))


def _validated(value: Any, source: Path) -> _Input:
    try:
        return _Input.model_validate(value, strict=True)
    except ValidationError as error:
        problem = problem_of(error)
        message = str(problem) if problem.place else f"The file {problem.message}."
        raise InputError(message, where=str(source), hint=_FORM) from error


def _file(source: Path, item: _File) -> FixtureFile:
    path = _inside(source, item.path)
    name = item.filename or Path(item.path).name
    if name in (".", "..") or set(name) & set("/\\\0"):
        raise InputError(f"The file name {name!r} is not a plain name.", where=str(source))
    return FixtureFile(path, item.role or "", item.note or "", name)


def _inside(source: Path, name: str) -> Path:
    """The named file, which links and `..` must not lead out of the fixture's folder."""
    try:
        folder = source.resolve().parent
        file = (folder / name).resolve()
        if not file.is_relative_to(folder):
            raise InputError(f"The file {name} is outside the fixture's folder.", where=str(source))
        hint = "It may be your own, and not the fixture's. If you mean it, give it with -f."
        if is_no_project(folder):
            hint = f"{hint} Or move the fixture, with its files, into a folder of its own."
            raise InputError(f"The file {name} is in {folder}, which is no project.", where=str(source), hint=hint)
        if is_hidden(file, folder):
            raise InputError(f"The file {name} is hidden.", where=str(source), hint=hint)
        if not is_file(file):
            raise InputError(f"The file {name} is missing.", where=str(source), hint=f"It should be at {file}.")
        if is_of_user(file, source.resolve()):
            hint = f"{hint} If it is the fixture's, `git add` it."
            raise InputError(f"The file {name} is no file of its repository.", where=str(source), hint=hint)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The file name {name!r} can't be used: {error}.", where=str(source)) from error
    return file
