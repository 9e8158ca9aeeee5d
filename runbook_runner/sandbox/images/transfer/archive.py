"""Docker sandbox: an archive of images, read within bounds: whoever wrote it may have written anything.

An engine gets what the one list of the archive names, `manifest.json`, and that as it was read here. Not the file: its
own reader may find others in the same bytes, behind one that only one of the two takes for the end or for a folder. Nor
any other list: Podman prefers the manifests of OCI (`index.json`) and fetches from the addresses in them. What each
image says of itself is written anew, see image_config.py.
"""

import bz2
import gzip
import json
import lzma
import os
import posixpath
import tarfile
import zlib
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images.transfer.image_config import rewritten

_LONGEST_PATH: Final = 4096  # bytes, as Linux has it
_LONGEST_HEADER: Final = 4 * _LONGEST_PATH  # bytes of a long name, or of a PAX header
_MOST_HEADERS: Final = 8 << 20  # bytes of all, long ones count more: some 16,000 entries
_MOST_LISTED: Final = 16 << 20  # bytes
_MOST_IMAGES: Final = 1000
_MOST_SAID: Final = 4 << 20  # bytes that an image says of itself: an engine keeps them in its memory
_MOST_SAID_BY_ALL: Final = 64 << 20
_MOST_LAYERS: Final = 125  # of an image: Docker's overlay2 allows no more
_MOST_LAYERS_OF_ALL: Final = 2000  # that an engine makes: Podman goes on with them when the client is gone
_EMPTY_LAYER: Final = tarfile.RECORDSIZE  # bytes at most: an image may have it for each of its WORKDIR
_MOST_PACKED: Final = 100
_UNPACKERS: Final[Mapping[bytes, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b\x08": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
"""By what a packed file begins with."""
_BLOCK: Final = 1 << 20
_NO_TAR: Final = (
    *(tarfile.TarError, EOFError, zlib.error, lzma.LZMAError),
    *(LookupError, AttributeError, TypeError, ValueError, RecursionError),
)
_Entries = Sequence[tuple[str, tarfile.TarInfo]]
"""Each with its path below the top folder, in which the engine unpacks: `/manifest.json`."""


class _RefusedError(ValueError):
    """What no engine writes, in words."""


@dataclass(frozen=True)
class _Image:
    """As `manifest.json` (Docker Image Specification v1) has it, without the `Parent` that would make it a step of
    other builds."""

    name: str
    config: tarfile.TarInfo
    layers: Sequence[str]
    """The names under which an engine gets them."""


class Archive:
    """names: of its images, in their order."""

    def __init__(self, path: Path, content: IO[bytes], most: int):
        """content: unpacked. most: bytes that it may have. Raises ValueError and the like."""
        self._path = path
        self._content = content
        self._entries = tuple(_entries(content, most))
        _refuse_links(self._entries)
        self._files = dict(self._entries)  # of two with one place the last, as when they are unpacked
        self._blobs: dict[int, str] = {}  # by the offset, the names under which an engine gets them
        listed = self._listed("manifest.json")
        if listed is None:
            raise _RefusedError("without manifest.json, engines look for the images elsewhere")
        if len(listed) > _MOST_IMAGES:
            raise _RefusedError(f"more than {_MOST_IMAGES} images")
        self._stacks = set[Sequence[str]]()  # an engine makes a layer anew on other layers
        self._images = [self._image(image) for image in listed]
        self.names = [image.name for image in self._images]
        self._configs = self._rewritten()

    def blocks(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yields an archive of the list and of what it names, under names that mean nothing to an engine. names: those
        that the images get, in their order. Raises InputError when the file can't be read."""
        configs = {f"config{at}": config for at, config in enumerate(self._configs)}
        listed = [
            {"Config": config, "RepoTags": [name], "Layers": image.layers}
            for config, name, image in zip(configs, names, self._images, strict=True)
        ]
        manifest = json.dumps(listed, ensure_ascii=False).encode()
        with _reading(self._path):
            for name, data in {"manifest.json": manifest, **configs}.items():
                yield from _entry(name, len(data), (data,))
            for _, member in self._entries:
                if blob := self._blobs.get(member.offset):
                    yield from _entry(blob, member.size, self._data(member))
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _image(self, image: Any) -> _Image:
        """Raises ValueError for an image without a name, which could be a step of other builds as well, and the
        like."""
        config, names, layers = image["config"], image["repotags"], image["layers"] or []
        if not names:
            raise _RefusedError("an image without a name")
        if not all(isinstance(text, str) for text in (config, *names, *layers)):
            raise _RefusedError("what is no text in manifest.json")
        if len(names) > 1:
            raise _RefusedError("an image with more than one name")
        return _Image(names[0], self._member(config), self._bounded(layers))

    def _bounded(self, layers: Sequence[str]) -> Sequence[str]:
        """Returns the names under which an engine gets the layers of an image. Raises ValueError for more of them than
        images have, or one twice: each costs time and room, whatever its size in the file."""
        if len(layers) > _MOST_LAYERS:
            raise _RefusedError(f"an image of more than {_MOST_LAYERS} layers")
        members = [self._member(layer) for layer in layers]
        large = [member.offset for member in members if member.size > _EMPTY_LAYER]
        if len(set(large)) < len(large):
            raise _RefusedError("an image with one layer twice")
        blobs = tuple(map(self._blob, members))
        self._stacks.update(blobs[: at + 1] for at in range(len(blobs)))
        if len(self._stacks) > _MOST_LAYERS_OF_ALL:
            raise _RefusedError(f"more than {_MOST_LAYERS_OF_ALL} layers")
        return blobs

    def _blob(self, member: tarfile.TarInfo) -> str:
        return self._blobs.setdefault(member.offset, f"blob{len(self._blobs)}")

    def _member(self, path: str) -> tarfile.TarInfo:
        """Raises ValueError for a file that is not there: an engine takes the layers that it has."""
        place = _place(path)
        member = self._files.get(place)
        if member and member.issym():
            member = self._files.get(_target(place, member.linkname))
        if member is None or not member.isreg():
            raise _RefusedError(f"without a file that it names: {path[:_LONGEST_PATH]!r}")
        return member

    def _rewritten(self) -> list[bytes]:
        """Returns what the engine gets that the images say of themselves."""
        written, left = dict[int, bytes](), _MOST_SAID_BY_ALL
        # A packed file is read from its beginning for each step back.
        for at, image in sorted(enumerate(self._images), key=lambda found: found[1].config.offset):
            left -= image.config.size
            if image.config.size > _MOST_SAID or left < 0:
                raise _RefusedError(f"an image that says more than {_MOST_SAID >> 20} MB of itself, or all too much")
            said = json.loads(b"".join(self._data(image.config)), object_pairs_hook=_as_go_reads)
            written[at] = rewritten(said, len(image.layers), image.name[:_LONGEST_PATH])
        return [written[at] for at in range(len(self._images))]

    def _data(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        left = member.size if member.isreg() else 0
        self._content.seek(member.offset_data)
        while left:
            if not (block := self._content.read(min(left, _BLOCK))):
                raise EOFError(member.name)
            left -= len(block)
            yield block

    def _listed(self, name: str) -> Any:
        """Returns what a JSON file at the top holds; `None` without it. Raises ValueError when it is there twice."""
        found = [member for place, member in self._entries if place == f"/{name}"]
        if not found:
            return None
        if len(found) > 1 or not found[0].isreg() or found[0].size > _MOST_LISTED:
            raise _RefusedError(f"{name} is there twice, or is not a file of usual size")
        return json.loads(b"".join(self._data(found[0])), object_pairs_hook=_as_go_reads)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Raises InputError for what is no archive of images."""
    with ExitStack() as stack:
        with _reading(path):
            file = stack.enter_context(open_regular(Path(os.path.realpath(path))))
            size = os.fstat(file.fileno()).st_size
            begin = file.read(8)
            file.seek(0)
            unpack = next((unpack for magic, unpack in _UNPACKERS.items() if begin.startswith(magic)), None)
            if unpack is None:
                archive = Archive(path, file, size)
            else:
                archive = Archive(path, stack.enter_context(unpack(file)), _MOST_PACKED * size)
        yield archive


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong into InputError."""
    try:
        yield
    except InputError as error:
        error.where = str(path)
        raise
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror or error}.", where=str(path)) from error
    except _NO_TAR as error:
        details = str(error) if isinstance(error, _RefusedError) else None
        raise InputError("The file is no export of images.", where=str(path), details=details) from error


class _Headers:
    """What `tarfile` gets of an archive, of which it reads the headers only and believes their sizes."""

    def __init__(self, content: IO[bytes], most: int):
        self._content = content
        self._most = most
        self._left = _MOST_HEADERS
        self.tell = content.tell

    def read(self, size: int) -> bytes:
        self._left -= size * max(size, tarfile.BLOCKSIZE) // tarfile.BLOCKSIZE  # Python < 3.11.10 takes quadratic time
        if not 0 <= size <= _LONGEST_HEADER or self._left < 0:
            raise _RefusedError("its headers are too long, or too many")
        return self._content.read(size)

    def seek(self, place: int) -> int:
        if place > self._most:
            raise _too_large()
        return self._content.seek(place)


def _entries(content: IO[bytes], most: int) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Raises ValueError for what no engine writes: a file of which parts are left out (sparse), a header for all
    entries behind it, two files of the same bytes."""
    end = 0
    with tarfile.open(fileobj=cast(Any, _Headers(content, most)), mode="r:") as headers:
        for member in headers:
            if headers.pax_headers or member.issparse() or member.offset < end or member.size < 0:
                raise _RefusedError(f"a file of unusual form: {member.name[:_LONGEST_PATH]!r}")
            end = member.offset_data + (member.size if member.isreg() else 0)
            if end > most:
                raise _too_large()
            if "\0" in member.name + member.linkname:
                raise _RefusedError("a name with a NUL")
            yield _place(member.name), member


def _too_large() -> InputError:
    return InputError(
        f"The file ends too early, or is packed more than {_MOST_PACKED} times.",
        hint="Copy it again; unpack it first if it is packed.",
    )


def _place(name: str) -> str:
    """Of a file below the top folder, from which `..` does not lead out."""
    if len(os.fsencode(name)) > _LONGEST_PATH:
        raise _RefusedError(f"a path of more than {_LONGEST_PATH} bytes")
    return posixpath.normpath(f"/{name.lstrip('/')}")


def _refuse_links(entries: _Entries) -> None:
    """Raises ValueError for what engines write none of: a hard link, a link to what is no file of the archive, a file
    behind a link. Podman unpacks an archive where these lead to the files of its machine."""
    places = sorted(place for place, _ in entries)
    files = {place for place, member in entries if member.isreg()}
    for place, member in entries:
        if member.islnk():
            raise _RefusedError(f"a hard link: {member.name[:_LONGEST_PATH]!r}")
        if member.issym() and not _leads_to(place, member.linkname, files):
            raise _RefusedError(f"a link that leads out of it: {member.name[:_LONGEST_PATH]!r}")
        below = place.rstrip("/") + "/"
        at = bisect(places, below)
        if member.issym() and at < len(places) and places[at].startswith(below):
            raise _RefusedError("a file behind a link")


def _leads_to(place: str, link: str, files: Collection[str]) -> bool:
    climbs = posixpath.normpath(posixpath.join(posixpath.dirname(place)[1:], link)).startswith("..")
    return not link.startswith("/") and not climbs and _target(place, link) in files


def _target(place: str, link: str) -> str:
    return posixpath.normpath(f"{posixpath.dirname(place)}/{link}")


def _entry(name: str, size: int, data: Iterable[bytes]) -> Iterator[bytes]:
    member = tarfile.TarInfo(name)
    member.size = size
    yield member.tobuf(tarfile.GNU_FORMAT)
    yield from data
    yield bytes(-size % tarfile.BLOCKSIZE)


def _as_go_reads(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The engine takes the names of fields in any case, of two the last; those of annotations, which have a dot, as
    they are. Raises ValueError for two."""
    read = {key if "." in key else key.casefold(): value for key, value in pairs}
    if len(read) < len(pairs):
        raise _RefusedError("two fields of one name")
    return read
