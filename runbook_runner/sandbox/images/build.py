"""Docker sandbox: one image build, reported line by line; its full log is kept when it fails."""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runbook_runner.core.errors import NotReadyError, RunbookError
from runbook_runner.core.events import Report
from runbook_runner.core.text import Lines, printable_output
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.image_names import full_name, shown_name
from runbook_runner.sandbox.images.build_request import Bounds, BuildFailedError, build_records
from runbook_runner.sandbox.images.built_here import is_built_here, is_others, kind_of
from runbook_runner.sandbox.images.fetches import images_of, read_dockerfile_text, refuse_fetches, refuse_host_files
from runbook_runner.sandbox.images.recipe import Recipe, is_ours
from runbook_runner.sandbox.images.records import LONGEST_S
from runbook_runner.sandbox.images.snapshots import context_archive

_SHOWN = 20  # lines of a failed build
_WIDTH = 200  # characters of a line
_STEP = re.compile(r"(Step \d+/\d+) : (.*)")
_NOISE = re.compile(r"^(--->|Removing intermediate container|Successfully (built|tagged)|Step \d+/\d+ : (ARG|LABEL) )")
_TRIES = 3
_NARROWED = " It had no network, as the run is to have none: `runbook snapshots build` has one."
_WITHOUT_PASSWORDS = (
    " It did not get the passwords of your proxies: {} was not built here. `runbook snapshots build {} --fresh` builds "
    "that anew."
)
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
    foreign: bool = False,
    bounds: Bounds | None = None,
) -> None:
    """fresh: runs every step again. foreign: what it is built on is not this program's own, nor the user's choice.
    bounds: for content that a project offers, and for what is foreign. Raises InputError for a Dockerfile that is not
    text, NotReadyError with the last lines and the log's path."""
    tag, text, where = made_of.tag, _text(made_of), _where(made_of)
    if bounds and not bounds.network:
        if engine.is_podman:
            raise NotReadyError(
                "The run's network is narrowed, and Podman can't hold a build to that: nothing of a project is built.",
                where=where,
                hint="Build it first with `runbook snapshots build`, or use Docker Engine.",
            )
        refuse_fetches(text, made_of.arguments, lambda name: engine.image_id(name) is not None, where)
    elif engine.is_podman:
        refuse_host_files(text, made_of.arguments, where)
    for image in images_of(text, _arguments(engine, made_of), where):
        _refuse_strangers(engine, image, where)
        _refuse_triggers(engine, image, where)
    report(f"Building {tag}")
    descriptor, name = tempfile.mkstemp(prefix="runbook-build-", suffix=".log")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as log:
            _run_again(engine, made_of, _Said(log, report), fresh=fresh, foreign=foreign, bounds=bounds)
    except BuildFailedError as error:
        hint = _NARROWED if bounds and not bounds.network else ""
        strangers = foreign and not is_built_here(engine, _arguments(engine, made_of)["BASE_IMAGE"])
        if strangers and engine.proxies != engine.proxies_with_passwords:
            hint += _WITHOUT_PASSWORDS.format(made_of.arguments["BASE_IMAGE"], made_of.made.snapshot)
        raise _failure(tag, str(error), Path(name), hint) from error
    except RunbookError as error:
        error.details = "\n".join(filter(None, [error.details, f"Build log: {name}"]))
        raise
    Path(name).unlink()


def _text(made_of: Recipe) -> str:
    return read_dockerfile_text(made_of.files["Dockerfile"], _where(made_of))


def _where(made_of: Recipe) -> str:
    return f"{made_of.made.name}/Dockerfile"


def _refuse_strangers(engine: Engine, image: str, where: str) -> None:
    """Raises NotReadyError for an image that would get the name of one built here, and for a name for which the engine
    takes an image of another name."""
    if engine.image_id(image):
        return
    if is_ours(image):
        message = f"There is no image {image}, and none of that name is pulled: runs would take it for one built here."
        hint = "Begin with `ARG BASE_IMAGE=snapshot:NAME` and `FROM ${BASE_IMAGE}` to build on a snapshot."
        raise NotReadyError(message, where=where, hint=hint)
    if other := engine.other_image(image):
        message = f"The engine has no image {image}, and would take {shown_name(other)} for it."
        raise NotReadyError(message, where=where, hint=f"Write its full name, such as {full_name(image)}, or pull it.")


def _refuse_triggers(engine: Engine, image: str, where: str) -> None:
    """Raises NotReadyError for an image whose own instructions would be part of the build, and on Podman, which does
    not tell them, for one under a name of this program's that it has not made."""
    digest = engine.image_id(image)
    if digest is None:
        return
    if engine.image(digest)["Config"].get("OnBuild"):
        message = f"The image {image} has ONBUILD instructions, which would be part of this build."
        raise NotReadyError(message, where=where, hint="Build on an image without, with these instructions of yours.")
    if engine.is_podman and is_others(engine, image, digest) and kind_of(engine, digest) is None:
        message = (
            f"The image {image} was not built or imported by you here, and Podman does not tell which instructions "
            "(ONBUILD) it adds to a build: they can read and change this machine's files."
        )
        raise NotReadyError(message, where=where, hint="Build it with `runbook snapshots build NAME --fresh`.")


def _run_again(
    engine: Engine,
    made_of: Recipe,
    say: Callable[[str], None],
    *,
    fresh: bool,
    foreign: bool,
    bounds: Bounds | None,
) -> None:
    """Builds again when another process removed an image that the engine was building on."""
    end = time.monotonic() + min(bounds.deadline_s if bounds else LONGEST_S, LONGEST_S)
    for _ in range(_TRIES - 1):
        try:
            return _run(engine, made_of, say, fresh=fresh, foreign=foreign, bounds=bounds, end=end)
        except BuildFailedError as error:
            if not _REMOVED.search(str(error)):
                raise
            say(f"Building it again: {error}")
    return _run(engine, made_of, say, fresh=fresh, foreign=foreign, bounds=bounds, end=end)


def _run(
    engine: Engine,
    made_of: Recipe,
    say: Callable[[str], None],
    *,
    fresh: bool,
    foreign: bool,
    bounds: Bounds | None,
    end: float,
) -> None:
    strange, arguments = foreign or made_of.foreign, _arguments(engine, made_of)
    options = {
        "t": engine.image_name(made_of.tag),
        "buildargs": json.dumps({**_proxies(engine, bounds, strange=strange), **arguments}),
        "labels": json.dumps(made_of.labels),
        "nocache": fresh or (strange and _takes_others_for_steps(engine)),
        "rm": True,
        "forcerm": True,
    }
    context = context_archive(dict(made_of.files)).getvalue()

    with engine_errors(f"build {made_of.tag}"):
        # A layer names no image but the one that is there; who made an image that was not built here may have asked
        # for others.
        logins = not (made_of.made.layers or (foreign and not is_built_here(engine, arguments["BASE_IMAGE"])))
        records = build_records(engine, context, options, bounds, end - time.monotonic(), logins=logins)
        with closing(records):
            for line in _lines(records):
                say(line)


def _takes_others_for_steps(engine: Engine) -> bool:
    """Docker before 25.0.2 takes any pulled image that looks like it for a step on `scratch` (CVE-2024-24557)."""
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", str(engine.version.get("Version")))
    return version is None or tuple(map(int, version.groups())) < (25, 0, 2)


def _arguments(engine: Engine, made_of: Recipe) -> Mapping[str, str]:
    """Returns those of the recipe, with the id of the image that it is built on: its name may mean another one to the
    engine."""
    base = made_of.base and (engine.image_id(made_of.base) or full_name(made_of.base))
    return {**made_of.arguments, "BASE_IMAGE": base} if base else made_of.arguments


def _proxies(engine: Engine, bounds: Bounds | None, *, strange: bool) -> dict[str, str]:
    """Of the Docker configuration; their passwords only where all that runs is ours."""
    if bounds and not bounds.network:
        return {}
    return engine.proxies if bounds or strange else engine.proxies_with_passwords


def _lines(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yields lines of the engine's records, which are pieces of text. Raises BuildFailedError for one with an
    error."""
    lines, said = Lines(), 0
    for record in records:
        if "error" in record:
            yield from lines.end()
            raise BuildFailedError(str(record["error"]))
        said += len(str(record))
        if said > _MOST_SAID:
            raise BuildFailedError(f"It printed more than {_MOST_SAID >> 20} MB.")
        yield from lines.feed(str(record.get("stream") or ""))
        if record.get("status") and not record.get("progressDetail"):
            yield f"{record['status']} {record.get('id', '')}"
    yield from lines.end()


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


def _failure(tag: str, reason: str, log: Path, hint: str) -> NotReadyError:
    last: list[str] = []
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = [line for line in lines if not _NOISE.match(line)][-_SHOWN:]
    return NotReadyError(
        f"The image {tag} could not be built: {reason.strip()}",
        hint=f"The whole build log is in {log}.{hint}",
        details="\n".join(line[:_WIDTH] for line in last),
    )
