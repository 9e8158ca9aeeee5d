"""Runner: the input files of a run, kept in its folder by their digest, so that it can be run again elsewhere.

What holds a known secret value is not kept: it can't be cleaned and still be the same file. Nor is what is too large.
"""

import hashlib
import shutil
from pathlib import Path

from runbook_runner.errors import InputError, RecordingError
from runbook_runner.events import Emit, Log
from runbook_runner.redaction import Redactor
from runbook_runner.settings import KEPT_INPUTS_BYTES
from runbook_runner.spec import InputFile, RunSpec

INPUTS = "inputs"


def keep_inputs(spec: RunSpec, folder: Path, redactor: Redactor, emit: Emit) -> None:
    """Copies the inputs to `inputs/<sha256>`, the smallest first, up to KEPT_INPUTS_BYTES in all. Says which it did
    not keep and why. Raises InputError when one can't be read, RecordingError when it can't be written."""
    left = KEPT_INPUTS_BYTES
    for item in sorted(spec.inputs, key=lambda item: item.size):
        source = Path(item.source)
        problem = "it is too large" if item.size > left else _secret_in(source, redactor)
        if problem:
            message = f"The input {item.name} is not kept with the run: {problem}. A replay needs it at {item.source}."
            emit(Log(level="warning", message=message))
            continue
        _copy(source, folder / INPUTS / item.sha256)
        left -= item.size


def _secret_in(source: Path, redactor: Redactor) -> str | None:
    try:
        hits = redactor.known(source.read_bytes().decode("utf-8", "surrogateescape"))[1]
    except OSError as error:
        raise InputError(f"The input can't be read: {error.strerror}.", where=str(source)) from error
    return f"it holds {', '.join(hits)}" if hits else None


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(exist_ok=True)
        aside = target.with_name(f".{target.name}")
        shutil.copyfile(source, aside)
        aside.replace(target)
    except OSError as error:
        raise RecordingError(f"The input can't be kept: {error.strerror}.", where=str(target)) from error


def with_kept_inputs(spec: RunSpec, folder: Path) -> RunSpec:
    """The spec with its inputs where they are now: the kept copy, else where the recorded run found them. Raises
    InputError that names every input that is gone or was changed."""
    found = {item.name: _place(item, folder) for item in spec.inputs}
    missing = [item for item in spec.inputs if found[item.name] is None]
    if missing:
        lines = "\n".join(f"  {item.name} (sha256 {item.sha256[:12]}…), was at {item.source}" for item in missing)
        count = f"{len(missing)} input{'s are' if len(missing) > 1 else ' is'}"
        raise InputError(f"{count} not there any more as recorded:", where=str(folder), hint=lines)
    placed = (item.model_copy(update={"source": str(found[item.name])}) for item in spec.inputs)
    return spec.model_copy(update={"inputs": tuple(placed)})


def _place(item: InputFile, folder: Path) -> Path | None:
    for path in (folder / INPUTS / item.sha256, Path(item.source)):
        if path.is_file() and _sha256(path) == item.sha256:
            return path.absolute()
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
