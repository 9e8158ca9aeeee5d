"""Docker sandbox: exports images of snapshots to a file, and imports them on a machine without a registry."""

import json
import lzma
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
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
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""The annotations that name an image in an OCI layout: the first that is there."""
_BLOCK = 1 << 20
_NO_TAR = (
    *(tarfile.TarError, EOFError, zlib.error, lzma.LZMAError),
    *(LookupError, AttributeError, TypeError, ValueError, RecursionError),
)


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
    with _opened(file) as content:
        names = _names(content)
        for name in names:
            if snapshot_tag(name) is None:
                raise InputError(f"The file holds {name}, which is no image of a snapshot.", where=str(file))
        if not names:
            raise InputError("The file holds no image of a snapshot.", where=str(file))
        tags = [tag for name in _load(engine, file, content) if (tag := snapshot_tag(name))]
    # A snapshot before the images that are built on it.
    return tuple(_adopt(engine, tag, wanted) for tag in sorted(tags, key=lambda tag: len(tag.partition(":")[0])))


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    """Raises InputError, also for what can't be read in this block."""
    try:
        with tarfile.open(file) as content:
            yield content
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror or error}.", where=str(file)) from error
    except _NO_TAR as error:
        raise InputError("The file is no export of images.", where=str(file)) from error


def _names(content: tarfile.TarFile) -> list[str]:
    """Those under which an engine would load its images: Docker Image Specification v1, "manifest.json", and for
    containerd and Podman the annotations of an OCI image layout. Raises ValueError and the like."""
    images, layout = (_listed(content, name) for name in ("manifest.json", "index.json"))
    names = [name for image in images for name in image["repotags"] or ()]
    notes = [image.get("annotations") or {} for image in (layout or {"manifests": ()})["manifests"]]
    named = (next(filter(None, map(note.get, _NAMES)), None) for note in notes)
    return [str(name) for name in (*names, *filter(None, named))]


def _listed(content: tarfile.TarFile, name: str) -> Any:
    """Returns what a JSON file at the top holds; `None` without it. Raises ValueError when it is there twice, or may be
    by another name."""
    places = [(_place(member.name), member) for member in content]
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


def _place(name: str) -> str:
    """Of a file below the top folder, in which the engine unpacks and from which `..` does not lead out."""
    return posixpath.normpath(f"/{name.lstrip('/')}")


def _as_go_reads(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The engine takes the names of fields in any case, of two the last; those of annotations, which have a dot, as
    they are. Raises ValueError for two."""
    read = {key if "." in key else key.casefold(): value for key, value in pairs}
    if len(read) < len(pairs):
        raise ValueError("two fields of one name")
    return read


def _above(place: str) -> Iterator[str]:
    return (place[:at] for at, letter in enumerate(place) if at and letter == "/")


def _load(engine: Engine, file: Path, content: tarfile.TarFile) -> list[str]:
    tags: list[str] = []
    with engine_errors(f"load {file}"):
        for line in engine.api.load_image(_as_read(content)):  # type: ignore[no-untyped-call]
            if "error" in line:
                raise InputError(f"The engine does not accept it: {line['error']}", where=str(file))
            for said in re.findall(r"Loaded image: (\S+)", str(line.get("stream", ""))):
                tags += said.split(",")  # Podman names all on one line
    return tags


def _as_read(content: tarfile.TarFile) -> Iterator[bytes]:
    """Yields an archive of the files that were found here: the engine's own reader may find others in the same bytes,
    behind an entry that only one of the two takes for the end or for a folder. Raises ValueError for a name that would
    be read as another."""
    for member in content:
        plain = tarfile.TarInfo(_place(member.name)[1:])
        if member.isreg():
            plain.size = member.size
        elif member.issym() or member.islnk():
            plain.type, plain.linkname = member.type, member.linkname
        else:
            continue  # of a folder the engine knows by what is in it
        if "\0" in plain.name + plain.linkname:
            raise ValueError("a name with a NUL")
        yield plain.tobuf(tarfile.GNU_FORMAT)
        data = content.extractfile(member) if member.isreg() else None
        while data and (block := data.read(_BLOCK)):
            yield block
        yield bytes(-plain.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


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
