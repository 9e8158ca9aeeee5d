"""Runner: the input files of a run: read, given to the agent, and kept in the trajectory folder by their digest, so
that the run can be repeated elsewhere.

A file that holds a known secret value is not kept: without the value it would not be the same file. Nor is a file that
is too large.
"""

import hashlib
import os
import posixpath
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import ELOOP
from functools import cache
from itertools import pairwise
from pathlib import Path

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FILE, FOLDER
from runbook_runner.core.disk.repository import repository_of, within_repository
from runbook_runner.core.errors import InputError, RecordingError, raised
from runbook_runner.core.events import Emit, Log
from runbook_runner.core.files import is_file, is_folder, opened_atomically
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import ASSETS, INPUT_ENTRIES, KEPT_INPUTS_BYTES
from runbook_runner.core.spec import InputFile, RunSpec
from runbook_runner.core.text import decoded_name
from runbook_runner.runner.request.input_zips import Member, opened
from runbook_runner.sandbox.base import PutFile

INPUTS = "inputs"
_NAMED = 100
_SEARCHED_BYTES = 256 << 20  # of the content of a zip


def read_inputs(
    files: Iterable[tuple[str, Path]], lacking: Callable[[InputError], None] = raised
) -> tuple[InputFile, ...]:
    """files: the name that the agent sees, and the path. lacking: gets the error for a path that is missing or not a
    file. Raises InputError when two have one name, and for a zip that can't be unpacked safely."""
    found: dict[str, InputFile] = {}
    digest = cache(_digest)  # a clone may have a thousand links to one large file
    for name, path in files:
        source = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - an unknown user is not an error here
        shown = decoded_name(str(path))
        if not _is_text(source):
            raise InputError("The input's path is not UTF-8.", where=shown, hint="Copy it to a path that is.")
        if not is_file(source):
            what, hint = "does not exist", "A path is relative to the folder where you stand."
            if is_folder(source):
                what, hint = "is a folder", "Give files; zip a folder to keep its tree."
            lacking(InputError(f"The input {what}.", where=shown, hint=hint))
            continue
        if name in found:
            raise InputError(
                f"Two inputs are named {name!r}: {found[name].source} and {source}.",
                hint="They would overwrite each other in /app/assets: rename one.",
            )
        found[name] = _read_input(name, source, digest)
    inputs = tuple(found.values())
    _refuse_clashes(inputs)
    return inputs


def option_file(option: str, path: Path) -> InputFile:
    """A file that an option names and that the agent is not given itself; no input has such a name. Raises
    InputError."""
    (item,) = read_inputs([(path.name, path)])
    return item.model_copy(update={"name": f"{option}/{item.name}"})


def _is_text(path: Path) -> bool:
    """False for a path that is not UTF-8: it can't be recorded."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_input(name: str, source: Path, digest: Callable[[Path], tuple[str, int]]) -> InputFile:
    try:
        real = within_repository(source)
        sha256, size = digest(real)
        return InputFile(name=name, sha256=sha256, size=size, source=str(real))
    except OSError as error:
        hint = f"If you mean it, give the file itself: {os.path.realpath(source)}." if error.errno == ELOOP else None
        raise InputError(f"The input can't be read: {error.strerror}.", where=str(source), hint=hint) from error


def _digest(real: Path) -> tuple[str, int]:
    """SHA-256 in hex, and the size. Raises OSError."""
    with open_regular(real) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()  # type: ignore[arg-type]


def _refuse_clashes(inputs: Sequence[InputFile]) -> None:
    """Raises InputError when two inputs, members of zips included, would get one path, and as `unpacked`."""
    taken: dict[str, str] = {}
    with unpacked(inputs) as files:
        for file in files:
            assert not isinstance(file.source, bytes)
            if other := taken.get(file.path):
                raise InputError(
                    f"Two inputs have one path, {file.path}: {other} and {file.source}.",
                    hint="They would overwrite each other: rename one.",
                )
            taken[file.path] = str(file.source)
    for above, below in pairwise(sorted(f"{path}/" for path in taken)):  # what is below a path follows it
        if below.startswith(above):
            raise InputError(f"The input {taken[above[:-1]]} is a file where {taken[below[:-1]]} needs a folder.")


@contextmanager
def unpacked(inputs: Iterable[InputFile]) -> Iterator[list[PutFile]]:
    """The files that the agent is given: each input under its own name, the members of a zip instead of the zip
    (contract §5.3). They can be read in this block. Raises InputError, also for too many."""
    with ExitStack() as stack:
        files, folders = list[PutFile](), set[str]()
        for item in inputs:
            if is_zip(item.name):
                members = stack.enter_context(opened(Path(item.source)))
                new = [PutFile(f"{ASSETS}/{member.path}", member, member.mode) for member in members]
            else:
                new = [PutFile(f"{ASSETS}/{item.name}", Path(item.source))]
            for file in new:  # each name may make hundreds of folders
                files.append(file)
                folder = posixpath.dirname(file.path)
                while folder not in folders:
                    folders.add(folder)
                    folder = posixpath.dirname(folder)
                if len(files) + len(folders) > INPUT_ENTRIES:
                    message = f"The inputs of a run unpack to more than {INPUT_ENTRIES} files and folders."
                    raise InputError(message, where=item.source, hint="Leave out what the agent does not need.")
        yield files


def require_room(spec: RunSpec) -> None:
    """Raises InputError for inputs that need more than the sandbox's disk, and as `unpacked`."""
    size = sum(item.size for item in spec.inputs if not is_zip(item.name))
    with unpacked(item for item in spec.inputs if is_zip(item.name)) as members:
        size += sum(member.source.size for member in members if isinstance(member.source, Member))
    if size > spec.limits.disk_bytes:
        raise InputError(
            f"The inputs of this run take {size >> 20:,} MB, and its sandbox may use {spec.limits.disk_bytes >> 20:,}.",
            hint="Leave out what the agent does not need, or give it more with --disk.",
        )


def is_zip(name: str) -> bool:
    """Whether an input of that name is unpacked for the agent."""
    return name.lower().endswith(".zip")


def shown_names(inputs: Iterable[InputFile], files: Sequence[PutFile]) -> tuple[str, ...]:
    """The names that the agent is told: of every file, or of the zips when they hold more than can be listed."""
    if len(files) <= _NAMED:
        return tuple(file.path.removeprefix(f"{ASSETS}/") for file in files)
    return tuple(f"{item.name} (unpacked)" if is_zip(item.name) else item.name for item in inputs)


# --- kept for a replay ---------------------------------------------------------------------------------------------


def keep_inputs(spec: RunSpec, folder: Path, redactor: Redactor, emit: Emit) -> tuple[InputFile, ...]:
    """Copies the inputs to `inputs/<sha256>`, the smallest first, up to KEPT_INPUTS_BYTES in all; warns of each that is
    not kept, with the reason. Inputs with one content are one copy. Returns the inputs with their copies as sources.
    Raises InputError when one can't be read or was changed, RecordingError when it can't be written."""
    left, copies = KEPT_INPUTS_BYTES, {}
    problems: dict[tuple[str, bool], str | None] = {}
    for item in sorted(spec.inputs, key=lambda item: item.size):
        content, copy = (item.sha256, is_zip(item.name)), folder / INPUTS / item.sha256
        if content not in problems:
            problems[content] = "it is too large" if item.size > left else _obstacle(item, redactor)
            if not problems[content]:
                keep_copy(Path(item.source), copy)
                left -= item.size
        if problem := problems[content]:
            needs = f"A replay needs it at {item.source}, or as {INPUTS}/{item.sha256} in the run's folder."
            message = f"The input {item.name} is not kept with the run: {problem}. {needs}"
            emit(Log(level="warning", message=message))
        else:
            copies[item.name] = copy
    return tuple(item.model_copy(update={"source": str(copies.get(item.name, item.source))}) for item in spec.inputs)


def require_unchanged(inputs: Iterable[InputFile]) -> None:
    """Raises InputError for an input that is not what it was when the run was prepared."""
    digest = cache(_digest_of)
    for item in inputs:
        if digest(Path(item.source))[0] != item.sha256:
            hint = "Start the run again; this one would record another file than its agent got."
            raise InputError(f"The input {item.name} was changed after the run had begun.", hint=hint)


def _obstacle(item: InputFile, redactor: Redactor) -> str | None:
    """Why it can't be kept; `None` when it can."""
    if not is_zip(item.name):
        return secret_in(_read(Path(item.source)), redactor)
    with opened(Path(item.source)) as members:
        if sum(member.size for member in members) > _SEARCHED_BYTES:
            return "it is too large to be searched for secrets"
        found = (secret_in(member.content(), redactor) for member in members)
        return next((problem for problem in found if problem), None)


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"The input can't be read: {error.strerror}.", where=str(source)) from error


def secret_in(content: bytes, redactor: Redactor) -> str | None:
    """Says which secrets stand in it; `None` when there is none."""
    names = dict.fromkeys(span.name for span in redactor.spans(content))
    return f"it holds {', '.join(names)}" if names else None


def keep_copy(source: Path, target: Path) -> None:
    """Raises RecordingError."""
    try:
        target.parent.mkdir(FOLDER, exist_ok=True)
        with source.open("rb") as content, opened_atomically(target, mode=FILE) as out:
            shutil.copyfileobj(content, out)
    except OSError as error:
        raise RecordingError(f"The input can't be kept: {error.strerror}.", where=str(target)) from error


def with_kept_inputs(spec: RunSpec, folder: Path, near: Iterable[Path], *, left_out: bool = False) -> RunSpec:
    """The spec with each input at its kept copy, else at the path where the recorded run found it, if that is in a
    project of the folders near: a recording may name any file of this machine. Sizes are those of the files. left_out:
    the folder is of a bundle that was made without inputs. Raises InputError that names every input that is gone or was
    changed."""
    projects, digest = tuple(map(repository_of, near)), cache(_digest_of)
    found = [(item, _found(item, folder, projects, digest)) for item in spec.inputs]
    if missing := [item for item, now in found if now is None]:
        lines = "\n".join(f"  {item.name} (sha256 {item.sha256}), was at {item.source}" for item in missing)
        count = f"{len(missing)} input{'s are' if len(missing) > 1 else ' is'}"
        why = "This bundle was made without inputs: " if left_out else ""
        way = "Ask for a bundle with them." if left_out else f"Put each at {folder / INPUTS}/SHA256."
        raise InputError(
            f"{why}{count} neither with the recording nor, as recorded, in the project around the current folder:",
            where=str(folder),
            hint=lines,
            details=way,
        )
    return spec.model_copy(update={"inputs": tuple(now for _, now in found)})


def _found(
    item: InputFile, folder: Path, projects: Sequence[Path], digest: Callable[[Path], tuple[str, int]]
) -> InputFile | None:
    places = [folder / INPUTS / item.sha256]
    with suppress(ValueError):  # it is no path
        source = Path(os.path.realpath(item.source))
        places += [source] if any(map(source.is_relative_to, projects)) else []
    for place in places:
        sha256, size = digest(place)
        if sha256 == item.sha256:
            return item.model_copy(update={"source": str(place.absolute()), "size": size})
    return None


def _digest_of(path: Path) -> tuple[str, int]:
    """As `_digest`; an empty text for what is not a regular file that can be read."""
    try:
        return _digest(path)
    except OSError:
        return "", 0
