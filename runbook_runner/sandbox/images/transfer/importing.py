"""Docker sandbox: imports images of snapshots from a file, under the names by which runs here look for them. The names
in the file are for messages: each image is loaded under one that means nothing, and what no run looks for is removed
again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from docker.errors import APIError

from runbook_runner.core.disk.lock import locked
from runbook_runner.core.errors import InputError, SandboxError
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.images import built_here, recipe
from runbook_runner.sandbox.images.inventory import IMPORTED, RunImages, snapshot_tag
from runbook_runner.sandbox.images.provide import lock_file
from runbook_runner.sandbox.images.recipe import Made
from runbook_runner.sandbox.images.records import LONGEST_S, RefusedError, dialled, records
from runbook_runner.sandbox.images.transfer.archive import Archive, opened

_MOST_QUOTED: Final = 1000  # characters of a name, and of the engine's reason, which may be made of names


@dataclass(frozen=True)
class Loaded:
    tag: str
    """As in the file."""
    used_as: str | None
    """The tag under which runs here look for it; `None` when no run does."""
    why_not: str | None = None


def load(engine: Engine, file: Path, wanted: RunImages, *, replace: bool = False) -> tuple[Loaded, ...]:
    """Imports what `export` wrote and tags each image so that runs on this machine find it. replace: also where another
    image has the tag. Raises InputError for a file without such images or with others, SandboxError."""
    with opened(file) as archive:
        tags = [snapshot_tag(name) for name in archive.names]
        if None in tags:
            message = (
                f"The file holds {archive.names[tags.index(None)][:_MOST_QUOTED]}, which is no image of a snapshot."
            )
            raise InputError(message, where=str(file))
        if not archive.names:
            raise InputError("The file holds no image of a snapshot.", where=str(file))
        aside = f"{IMPORTED}{token_hex(8)}"
        names = {f"{aside}:{number}": tag for number, tag in enumerate(filter(None, tags))}
        try:
            _load(engine, file, archive, [*names])
            return _adopted(engine, file, names, wanted, replace=replace)
        finally:
            for name in names:
                _remove(engine, name)


def _load(engine: Engine, file: Path, archive: Archive, names: Sequence[str]) -> None:
    """Docker Engine API, "import images"; within LONGEST_S."""
    with engine_errors(f"load {file}"), dialled(engine, LONGEST_S) as to_engine:
        try:
            for said in _sent(engine, archive.blocks(names), to_engine.connection):
                if "error" in said:
                    raise RefusedError(str(said["error"]))
        except RefusedError as error:
            message = f"The engine does not accept it: {error}"[:_MOST_QUOTED]
            raise InputError(message, where=str(file)) from error
        except (HTTPException, OSError) as error:
            if not to_engine.late.is_set():
                raise ConnectionError(str(error)) from error
        if to_engine.late.is_set():
            raise InputError(f"The engine took more than {LONGEST_S:.0f} s to load it.", where=str(file))


def _sent(engine: Engine, blocks: Iterator[bytes], connection: Any) -> Iterator[dict[str, Any]]:
    headers = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
    with suppress(BrokenPipeError, ConnectionResetError):  # an engine that reads no further has said why
        connection.request("POST", f"/v{engine.api.api_version}/images/load", blocks, headers, encode_chunked=True)
    yield from records(connection.getresponse())


def _adopted(
    engine: Engine, file: Path, names: Mapping[str, str], wanted: RunImages, *, replace: bool
) -> tuple[Loaded, ...]:
    """names: those that the images have now, each with that of the file."""
    found = list[tuple[str, str, Made | None]]()
    for name, shown in names.items():
        digest = engine.image_id(name)
        if digest is None:
            raise InputError(f"The engine has loaded the file without {shown[:_MOST_QUOTED]}.", where=str(file))
        found.append((shown, digest, recipe.read_labels(engine.image(digest)["Config"].get("Labels"))))
    # A snapshot before the images that are built on it.
    found.sort(key=lambda image: len(image[2].layers) if image[2] else 0)
    return tuple(_adopt(engine, *image, wanted, replace=replace) for image in found)


def _adopt(engine: Engine, shown: str, digest: str, made: Made | None, wanted: RunImages, *, replace: bool) -> Loaded:
    if made is None:
        return Loaded(shown, None, "It does not say what it was made of.")
    try:
        here = wanted.tag_for(engine, made)
    except InputError as reason:
        return Loaded(shown, None, reason.message)
    with locked(lock_file(here), _silent, f"builds {here}"):
        there = engine.image_id(here)
        if there not in (None, digest) and not replace:
            why = f"{here} is another image, which stays. To put the one of the file in its place, add --replace."
            return Loaded(shown, None, why)
        if there != digest:
            name, _, version = engine.image_name(here).rpartition(":")
            with engine_errors(f"name {here}"):
                engine.api.tag(digest, name, version)
        built_here.note(engine, digest, "imported")
    return Loaded(shown, here)


def _silent(line: str, *, detail: bool = False) -> None:
    pass


def _remove(engine: Engine, name: str) -> None:
    """Of an image that has no other name, also the image. What can't be removed now, `prune` removes."""
    with suppress(SandboxError, APIError), engine_errors(f"remove {name}"):
        engine.api.remove_image(engine.image_name(name))
