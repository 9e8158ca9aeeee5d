"""Docker sandbox: exports images of snapshots to a file, and imports them on a machine without a registry."""

import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError

from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import opened_atomically
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.images import recipe
from runbook_runner.sandbox.images.inventory import RunImages, snapshot_tag

_MOST_LISTED = 16 << 20  # bytes
_NAME = "io.containerd.image.name"


def export(engine: Engine, tags: Sequence[str], file: Path) -> int:
    """Writes the images to one file, as `docker save` does. Returns its size. Raises InputError when it can't be
    written, also behind a link as `within_repository` says, SandboxError."""
    try:
        place = within_repository(file.parent) / file.name
        with opened_atomically(place) as out, engine_errors("export the images"):
            for block in _saved(engine, tags):
                _write(out, block, file)
    except OSError as error:
        raise _unwritable(file, error) from error
    return file.stat().st_size


def _saved(engine: Engine, tags: Sequence[str]) -> Iterator[bytes]:
    """Docker Engine API, "export several images"."""
    url = f"{engine.api.base_url}/v{engine.api.api_version}/images/get"
    with closing(engine.api.get(url, params={"names": list(tags)}, stream=True)) as answer:
        if answer.status_code >= 400:
            raise APIError(answer.text, response=answer, explanation=answer.text.strip())
        yield from answer.iter_content(1 << 20)


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
    names = _names(file)
    for name in names:
        if snapshot_tag(name) is None:
            raise InputError(f"The file holds {name}, which is no image of a snapshot.", where=str(file))
    if not names:
        raise InputError("The file holds no image of a snapshot.", where=str(file))
    tags = [tag for name in _load(engine, file) if (tag := snapshot_tag(name))]
    # A snapshot before the images that are built on it.
    return tuple(_adopt(engine, tag, wanted) for tag in sorted(tags, key=lambda tag: len(tag.partition(":")[0])))


def _names(file: Path) -> list[str]:
    """Those under which an engine would load its images: Docker Image Specification v1, "manifest.json", and for
    containerd the annotations of an OCI image layout. Raises InputError."""
    try:
        with tarfile.open(file) as content:
            images, layout = (_listed(content, name) for name in ("manifest.json", "index.json"))
        names = [name for image in images for name in image["repotags"] or ()]
        notes = [image.get("annotations") or {} for image in (layout or {"manifests": ()})["manifests"]]
        return [str(name) for name in (*names, *(note[_NAME] for note in notes if _NAME in note))]
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror or error}.", where=str(file)) from error
    except (tarfile.TarError, EOFError, LookupError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InputError("The file is no export of images.", where=str(file)) from error


def _listed(content: tarfile.TarFile, name: str) -> Any:
    """Returns what a JSON file at the top holds; `None` without it. Raises ValueError when it is there twice, or may be
    by another name."""
    # The engine unpacks within the top folder, from which `..` does not lead out.
    places = [(posixpath.normpath(f"/{member.name.lstrip('/')}"), member) for member in content]
    links = {place for place, member in places if member.issym()}
    if any(not links.isdisjoint(_above(place)) for place, _ in places):
        raise ValueError("a file behind a link")
    found = [member for place, member in places if place == f"/{name}"]
    if not found:
        return None
    if len(found) > 1 or not found[0].isreg() or found[0].size > _MOST_LISTED:
        raise ValueError(name)
    part = content.extractfile(found[0])
    return json.loads(part.read(), object_pairs_hook=_as_go_reads) if part else None


def _as_go_reads(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The engine takes the names of fields in any case, of two the last. Raises ValueError for two."""
    read = {key.casefold(): value for key, value in pairs}
    if len(read) < len(pairs):
        raise ValueError("two fields of one name")
    return read


def _above(place: str) -> Iterator[str]:
    return (place[:at] for at, letter in enumerate(place) if at and letter == "/")


def _load(engine: Engine, file: Path) -> list[str]:
    tags: list[str] = []
    try:
        with file.open("rb") as content, engine_errors(f"load {file}"):
            for line in engine.api.load_image(content):  # type: ignore[no-untyped-call]
                if "error" in line:
                    raise InputError(f"The engine does not accept it: {line['error']}", where=str(file))
                for said in re.findall(r"Loaded image: (\S+)", str(line.get("stream", ""))):
                    tags += said.split(",")  # Podman names all on one line
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror}.", where=str(file)) from error
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
        name, _, version = here.partition(":")
        with engine_errors(f"name {here}"):
            engine.api.tag(tag, name, version)
    return Loaded(tag, here)
