"""Docker sandbox: one image build, reported line by line; its full log is kept when it fails."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError, NotFound

from runbook_runner.core.errors import NotReadyError, RunbookError
from runbook_runner.core.text import printable_output
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.images.recipe import Recipe
from runbook_runner.sandbox.images.snapshots import context_archive

_SHOWN = 20  # lines of a failed build
_WIDTH = 200  # characters of a line
_NOISE = re.compile(r"^(--->|Removing intermediate container|Successfully (built|tagged)|Step \d+/\d+ : (ARG|LABEL) )")
_TRIES = 3
_REMOVED = re.compile(
    r"failed to get digest|unknown parent image|layer does not exist|"
    r"No such image: sha256|unable to find image \"sha256"
)


def build_image(engine: Engine, made_of: Recipe, report: Callable[[str], None], *, fresh: bool = False) -> None:
    """fresh: runs every step again. Raises NotReadyError with the last lines and the log's path."""
    tag = made_of.tag
    report(f"Building {tag}")
    descriptor, name = tempfile.mkstemp(prefix="runbook-build-", suffix=".log")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as log:
            _run_again(engine, made_of, lambda line: _note(log, line, report), fresh=fresh)
    except _BuildFailedError as error:
        raise _failure(tag, str(error), Path(name)) from error
    except RunbookError as error:
        error.details = "\n".join(filter(None, [error.details, f"Build log: {name}"]))
        raise
    Path(name).unlink()


class _BuildFailedError(Exception):
    """The build failed, with the engine's reason."""


def _run_again(engine: Engine, made_of: Recipe, say: Callable[[str], None], *, fresh: bool) -> None:
    """Builds again when another process removed an image that the engine was building on."""
    for _ in range(_TRIES - 1):
        try:
            return _run(engine, made_of, say, fresh=fresh)
        except _BuildFailedError as error:
            if not _REMOVED.search(str(error)):
                raise
            say(f"Building it again: {error}")
    return _run(engine, made_of, say, fresh=fresh)


def _run(engine: Engine, made_of: Recipe, say: Callable[[str], None], *, fresh: bool) -> None:
    try:
        with engine_errors(f"build {made_of.tag}"):
            records = engine.api.build(
                fileobj=context_archive(dict(made_of.files)),
                custom_context=True,
                tag=made_of.tag,
                buildargs=dict(made_of.arguments),
                labels=made_of.labels,
                nocache=fresh,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for line in _lines(records):
                say(line)
    except RunbookError as error:
        if isinstance(error.__cause__, (APIError, NotFound)):
            raise _BuildFailedError(error.message) from error
        raise


def _lines(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yields lines of the engine's records, which are pieces of text. Raises _BuildFailedError for one with an
    error."""
    rest = ""
    for record in records:
        if "error" in record:
            if rest.strip():
                yield rest
            raise _BuildFailedError(str(record["error"]))
        rest += str(record.get("stream") or "")
        *whole, rest = re.split(r"[\r\n]+", rest)
        yield from whole
        if record.get("status") and not record.get("progressDetail"):
            yield f"{record['status']} {record.get('id', '')}"
    if rest:
        yield rest


def _note(log: IO[str], line: str, report: Callable[[str], None]) -> None:
    line = printable_output(line).strip()
    if line:
        log.write(line + "\n")
        if not _NOISE.match(line):
            report(line[:_WIDTH])


def _failure(tag: str, reason: str, log: Path) -> NotReadyError:
    last: list[str] = []
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = [line for line in lines if not _NOISE.match(line)][-_SHOWN:]
    return NotReadyError(
        f"The image {tag} could not be built: {reason.strip()}",
        hint=f"The whole build log is in {log}.",
        details="\n".join(line[:_WIDTH] for line in last),
    )
