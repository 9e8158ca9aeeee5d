"""Docker sandbox: one image build, reported line by line; its full log is kept when it fails."""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runbook_runner.core.errors import NotReadyError, RunbookError
from runbook_runner.core.events import Report
from runbook_runner.core.text import printable_output
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.seccomp_profile import filtered
from runbook_runner.sandbox.images.build_request import Bounds, BuildFailedError, build_records
from runbook_runner.sandbox.images.fetches import refuse_fetches
from runbook_runner.sandbox.images.recipe import Recipe
from runbook_runner.sandbox.images.snapshots import context_archive

_SHOWN = 20  # lines of a failed build
_WIDTH = 200  # characters of a line
_STEP = re.compile(r"(Step \d+/\d+) : (.*)")
_NOISE = re.compile(r"^(--->|Removing intermediate container|Successfully (built|tagged)|Step \d+/\d+ : (ARG|LABEL) )")
_TRIES = 3
_NARROWED = " It had no network, as the run is to have none: `runbook snapshots build` has one."
_LONGEST_S = 3600.0
_MOST_SAID = 64 << 20  # bytes of output
_REMOVED = re.compile(
    r"failed to get digest|unknown parent image|layer does not exist|"
    r"No such image: sha256|unable to find image \"sha256"
)


def build_image(
    engine: Engine,
    made_of: Recipe,
    report: Report,
    *,
    fresh: bool = False,
    bounds: Bounds | None = None,
) -> None:
    """fresh: runs every step again. bounds: for content that a project offers. Raises NotReadyError with the last lines
    and the log's path."""
    tag = made_of.tag
    if bounds and not bounds.network:
        where = f"{made_of.made.name}/Dockerfile"
        refuse_fetches(made_of.files["Dockerfile"], made_of.arguments, lambda name: _has(engine, name), where)
    report(f"Building {tag}")
    descriptor, name = tempfile.mkstemp(prefix="runbook-build-", suffix=".log")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as log:
            _run_again(engine, made_of, _Said(log, report), fresh=fresh, bounds=bounds)
    except BuildFailedError as error:
        raise _failure(tag, str(error), Path(name), bounds) from error
    except RunbookError as error:
        error.details = "\n".join(filter(None, [error.details, f"Build log: {name}"]))
        raise
    Path(name).unlink()


def _has(engine: Engine, image: str) -> bool:
    """Raises NotReadyError for one whose own instructions would be part of the build: they may fetch, too."""
    if engine.image_id(image) is None:
        return False
    if (engine.image(image)["Config"] or {}).get("OnBuild"):
        message = f"The run's network is narrowed, and the image {image} has ONBUILD instructions, which may fetch."
        raise NotReadyError(message, hint="Build it first with `runbook snapshots build`, or use --network full.")
    return True


def _run_again(
    engine: Engine, made_of: Recipe, say: Callable[[str], None], *, fresh: bool, bounds: Bounds | None
) -> None:
    """Builds again when another process removed an image that the engine was building on."""
    end = time.monotonic() + min(bounds.deadline_s if bounds else _LONGEST_S, _LONGEST_S)
    for _ in range(_TRIES - 1):
        try:
            return _run(engine, made_of, say, fresh=fresh, bounds=bounds, end=end)
        except BuildFailedError as error:
            if not _REMOVED.search(str(error)):
                raise
            say(f"Building it again: {error}")
    return _run(engine, made_of, say, fresh=fresh, bounds=bounds, end=end)


def _run(
    engine: Engine, made_of: Recipe, say: Callable[[str], None], *, fresh: bool, bounds: Bounds | None, end: float
) -> None:
    options = {
        "t": made_of.tag,
        "buildargs": json.dumps({**_proxies(engine, made_of, bounds), **made_of.arguments}),
        "labels": json.dumps(made_of.labels),
        "nocache": fresh,
        "rm": True,
        "forcerm": True,
    }
    context = context_archive(dict(made_of.files)).getvalue()

    def build(security: list[str]) -> None:
        asked = {**options, "securityopt": json.dumps(security)} if security else options
        records = build_records(engine, context, asked, bounds, end - time.monotonic())
        with closing(records):
            for line in _lines(records):
                say(line)

    with engine_errors(f"build {made_of.tag}"):
        if bounds and not bounds.network and engine.is_podman:  # Docker Engine takes no options for a build
            filtered(engine, build, refusal=BuildFailedError)
        else:
            build([])


def _proxies(engine: Engine, made_of: Recipe, bounds: Bounds | None) -> dict[str, str]:
    """Of the Docker configuration; their passwords only where all that runs is ours."""
    if bounds and not bounds.network:
        return {}
    return engine.proxies if bounds or made_of.foreign else engine.proxies_with_passwords


def _lines(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yields lines of the engine's records, which are pieces of text. Raises BuildFailedError for one with an
    error."""
    rest, said = "", 0
    for record in records:
        if "error" in record:
            if rest.strip():
                yield rest
            raise BuildFailedError(str(record["error"]))
        rest += str(record.get("stream") or "")
        said += len(str(record))
        if said > _MOST_SAID:
            raise BuildFailedError(f"It printed more than {_MOST_SAID >> 20} MB.")
        *whole, rest = re.split(r"[\r\n]+", rest)
        yield from whole
        if record.get("status") and not record.get("progressDetail"):
            yield f"{record['status']} {record.get('id', '')}"
    if rest:
        yield rest


@dataclass
class _Said:
    """Takes the lines of a build: for its log, and with the step before them for the report."""

    log: IO[str]
    report: Report
    step: str = ""

    def __call__(self, line: str) -> None:
        line = printable_output(line).strip()
        if not line:
            return
        self.log.write(line + "\n")
        if _NOISE.match(line):
            return
        if begun := _STEP.match(line):
            self.step, line = begun.groups()
        self.report(f"{self.step}: {line}"[:_WIDTH], detail=True)


def _failure(tag: str, reason: str, log: Path, bounds: Bounds | None) -> NotReadyError:
    last: list[str] = []
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = [line for line in lines if not _NOISE.match(line)][-_SHOWN:]
    return NotReadyError(
        f"The image {tag} could not be built: {reason.strip()}",
        hint=f"The whole build log is in {log}.{_NARROWED if bounds and not bounds.network else ''}",
        details="\n".join(line[:_WIDTH] for line in last),
    )
