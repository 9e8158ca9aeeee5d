"""Docker sandbox: exports images of snapshots to a file, and imports them on a machine without a registry."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from docker.errors import APIError

from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import opened_atomically
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.images import recipe
from runbook_runner.sandbox.images.archive import Archive, opened
from runbook_runner.sandbox.images.inventory import RunImages, snapshot_tag

_BLOCK = 1 << 20
_MOST_QUOTED = 1000  # characters of a name, and of the engine's reason, which may be made of names


def export(engine: Engine, tags: Sequence[str], file: Path) -> int:
    """Writes the images to one file, as `docker save` does. Returns its size. Raises InputError when it can't be
    written, also behind a link, see `within_repository`, SandboxError."""
    try:
        place = within_repository(file.parent, links=False) / file.name
        with opened_atomically(place) as out, engine_errors("export the images"):
            for block in _saved(engine, tags):
                _write(out, block, file)
    except OSError as error:
        raise _unwritable(file, error) from error
    return file.stat().st_size


def _saved(engine: Engine, tags: Sequence[str]) -> Iterator[bytes]:
    """Docker Engine API, "export several images"."""
    url = f"{engine.api.base_url}/v{engine.api.api_version}/images/get"
    with closing(
        engine.api.get(url, params={"names": [engine.image_name(tag) for tag in tags]}, stream=True)
    ) as answer:
        if answer.status_code >= 400:
            raise APIError(answer.text, response=answer, explanation=answer.text.strip())
        yield from answer.iter_content(_BLOCK)


def _write(out: IO[bytes], block: bytes, file: Path) -> None:
    """Raises InputError: an OSError would be taken for one of the engine's."""
    try:
        out.write(block)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"The export can't be written: {error.strerror}.", where=str(file))


@dataclass(frozen=True)
class Loaded:
    tag: str
    """As in the file."""
    used_as: str | None
    """The tag under which runs here look for it; `None` when no run does."""
    why_not: str | None = None


def load(engine: Engine, file: Path, wanted: RunImages) -> tuple[Loaded, ...]:
    """Imports what `export` wrote and tags each image so that runs on this machine find it. Raises InputError for a
    file without such images or with others, whose names it would take over, SandboxError."""
    with opened(file) as archive:
        for name in archive.names:
            if snapshot_tag(name) is None:
                message = f"The file holds {name[:_MOST_QUOTED]}, which is no image of a snapshot."
                raise InputError(message, where=str(file))
        if not archive.names:
            raise InputError("The file holds no image of a snapshot.", where=str(file))
        tags = [tag for name in _load(engine, file, archive) if (tag := snapshot_tag(name))]
        for name in archive.names:
            if snapshot_tag(name) not in tags:
                raise InputError(f"The engine has loaded the file without {name[:_MOST_QUOTED]}.", where=str(file))
    # A snapshot before the images that are built on it.
    return tuple(_adopt(engine, tag, wanted) for tag in sorted(tags, key=lambda tag: len(tag.partition(":")[0])))


def _load(engine: Engine, file: Path, archive: Archive) -> list[str]:
    tags: list[str] = []
    with engine_errors(f"load {file}"):
        for line in engine.api.load_image(archive.blocks()):  # type: ignore[no-untyped-call]
            if "error" in line:
                message = f"The engine does not accept it: {line['error']}"[:_MOST_QUOTED]
                raise InputError(message, where=str(file))
            for said in re.findall(r"Loaded image: (\S+)", str(line.get("stream", ""))):
                tags += said.split(",")  # Podman names all on one line
    return tags


def _adopt(engine: Engine, tag: str, wanted: RunImages) -> Loaded:
    made = recipe.read_labels(engine.image(tag)["Config"].get("Labels"))
    if made is None:
        return Loaded(tag, None, "It does not say what it was made of.")
    try:
        here = wanted.tag_for(engine, made)
    except InputError as reason:
        return Loaded(tag, None, reason.message)
    if here != tag:
        name, _, version = engine.image_name(here).rpartition(":")
        with engine_errors(f"name {here}"):
            engine.api.tag(engine.image_name(tag), name, version)
    return Loaded(tag, here)
