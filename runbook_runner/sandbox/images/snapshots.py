"""Sandbox: the known snapshots, each a folder with a Dockerfile (contract §5.5): built-in, the user's, and packages'.

A user's is `.runbook/snapshots/NAME/Dockerfile` near the runbook. A package's is an entry point of the group
`runbook_runner.snapshots`: its name is the snapshot's, its value leads to the folder's path. A Dockerfile that begins
with `ARG BASE_IMAGE=snapshot:NAME` and `FROM ${BASE_IMAGE}` builds on another snapshot.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

import runbook_runner
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_link, offered_near
from runbook_runner.core.ids import is_name
from runbook_runner.core.text import did_you_mean
from runbook_runner.sandbox.images.context import Room, read_context, read_dockerfile

ALIASES = {"python312-uv-node": "python312-uv"}
PREFIX = "runbook-runner/"
"""Of the name of every image that is built here; the rest of the name says what the image was made of."""
CA_FILE = "ca-bundle.crt"
"""Name of the CA bundle in a build context; Dockerfiles copy it when it is there."""
FOLDER = Path(".runbook", "snapshots")
GROUP = "runbook_runner.snapshots"
_BASE = re.compile(rb"^ARG BASE_IMAGE(?:=(?P<default>\S+))?\s*$", re.MULTILINE)
_FROM_SNAPSHOT = re.compile(rb"^FROM\s+snapshot:", re.MULTILINE | re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # the name of an image is in lower case and has no space
_ON_SNAPSHOT = "snapshot:"
_MOST_BASES = 20
_DATE = 946_684_800  # 2000-01-01; of all files, so that they build the same image. No zip takes one before 1980
_PROGRAMS = (b"#!", b"\x7fELF")  # known by content: a checkout on another system may lose the mode

Near = Sequence[Path | str]
"""Folders from which upwards `.runbook/snapshots` is looked for."""


class UnknownSnapshotError(InputError):
    """There is no snapshot of that name."""


@dataclass(frozen=True)
class Snapshot:
    name: str
    folder: Path
    origin: Literal["built-in", "user", "package"]

    def files(self, room: Room | None = None) -> dict[str, bytes]:
        """Returns the build context, by path below the folder, without what its `.dockerignore` names. room: for
        several together. Raises InputError when it can't be read, is too large, or holds what is not a regular
        file."""
        return read_context(self.folder, offered=self.origin == "user", room=room)

    @property
    def base(self) -> str | None:
        """`snapshot:NAME` or an image, when the Dockerfile leaves its base open; empty when it names none; `None` when
        it does not. Raises InputError."""
        content = read_dockerfile(self.folder, offered=self.origin == "user")
        if _FROM_SNAPSHOT.search(content):
            raise InputError(
                "No image is called `snapshot:…`.",
                where=str(self.folder / "Dockerfile"),
                hint="Begin with `ARG BASE_IMAGE=snapshot:NAME`, then `FROM ${BASE_IMAGE}`.",
            )
        declared = _BASE.search(content)
        return (declared["default"] or b"").decode(errors="replace").strip("\"'") if declared else None


def known_snapshots(near: Near = ()) -> tuple[str, ...]:
    """Returns names, aliases among them."""
    found = {*_folders(_root().glob("*/Dockerfile")), *user_snapshots(near), *_packaged()}
    return tuple(sorted({*found, *(alias for alias, name in ALIASES.items() if name in found)}))


def is_builtin(name: str) -> bool:
    return is_file(_root() / ALIASES.get(name, name) / "Dockerfile")


def find_snapshot(name: str, near: Near = ()) -> Snapshot:
    """Returns the built-in snapshot, else a user's near, else a package's. Raises UnknownSnapshotError that lists the
    known ones, InputError for a broken package."""
    real = ALIASES.get(name, name)
    if is_name(real) and is_builtin(real):
        return Snapshot(real, _root() / real, "built-in")
    if real in (users := user_snapshots(near)):
        return Snapshot(real, users[real], "user")
    if real in (packaged := _packaged()):
        return Snapshot(real, _load(packaged[real]), "package")
    known = known_snapshots(near)
    hint = f"Known snapshots: {', '.join(known)}. Your own go into {FOLDER}/NAME."
    meant = did_you_mean(name, known)
    raise UnknownSnapshotError(f"Unknown snapshot {name!r}.", hint=f"{meant} {hint}" if meant else hint)


def find_base(snapshot: Snapshot, near: Near = (), above: tuple[str, ...] = ()) -> Snapshot | None:
    """Returns the snapshot it builds on; `None` when it builds on an image. Raises InputError for a circle."""
    base = snapshot.base
    if base is None or not base.startswith(_ON_SNAPSHOT):
        return None
    name = base.removeprefix(_ON_SNAPSHOT)
    if len(above) == _MOST_BASES:
        message = f"More than {_MOST_BASES} snapshots build on each other."
        raise InputError(message, where=str(snapshot.folder / "Dockerfile"))
    if name in (*above, snapshot.name):
        raise InputError(f"The snapshot {name!r} builds on itself.", where=str(snapshot.folder / "Dockerfile"))
    return find_snapshot(name, near)


def with_bases(snapshot: Snapshot, near: Near = ()) -> Iterator[Snapshot]:
    """Yields it and those that it builds on, each before its base is read. Raises as `find_base`."""
    above: tuple[str, ...] = ()
    now: Snapshot | None = snapshot
    while now:
        yield now
        above, now = (*above, now.name), find_base(now, near, above)


def context_archive(files: dict[str, bytes]) -> io.BytesIO:
    """Returns the files as an uncompressed tar, the same bytes for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o755 if content.startswith(_PROGRAMS) else 0o644
            info.mtime = _DATE
            tar.addfile(info, io.BytesIO(content))
    packed.seek(0)
    return packed


def files_digest(files: Mapping[str, bytes]) -> str:
    """Of all of a snapshot's own files, before the CA bundle is put beside them; SHA-256 in hex."""
    return content_digest(files, {}, "")


def content_digest(files: Mapping[str, bytes], arguments: Mapping[str, str], base: str) -> str:
    """Of all that an image is made of; SHA-256 in hex."""
    digest = hashlib.sha256()
    for part in _parts(files, arguments, base):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _parts(files: Mapping[str, bytes], arguments: Mapping[str, str], base: str) -> Iterable[bytes]:
    yield base.encode()
    for name, value in sorted(arguments.items()):
        if name != "BASE_IMAGE":
            yield f"{name}={value}".encode()
    for path, content in sorted(files.items()):
        yield path.encode()
        yield content


def _root() -> Path:
    """Returns the folder of the built-in snapshots: below the package in a wheel, at the root in a checkout."""
    package = Path(runbook_runner.__file__).parent
    packaged = package / "snapshots"
    return packaged if packaged.is_dir() else package.parent / "snapshots"


def _folders(dockerfiles: Iterable[Path]) -> dict[str, Path]:
    folders = (file.parent for file in dockerfiles)
    return {folder.name: folder for folder in folders if _NAME.fullmatch(folder.name)}


def user_snapshots(near: Near) -> dict[str, Path]:
    """Returns the nearest of each name."""
    found: dict[str, Path] = {}
    for path in offered_near(near, FOLDER):
        if _is_snapshot(path):
            found.setdefault(path.name, path)
    return found


def _is_snapshot(path: Path) -> bool:
    """A link counts as one: whoever uses it is told why it is refused."""
    return bool(_NAME.fullmatch(path.name)) and (is_link(path) or is_file(path / "Dockerfile"))


def _packaged() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if _NAME.fullmatch(point.name)}


def _load(point: EntryPoint) -> Path:
    """Raises InputError when the package is broken."""
    where = f"entry point {point.name} = {point.value}"
    try:
        folder = Path(point.load())
    except Exception as error:  # importing another package's module may raise anything
        raise InputError(f"The snapshot can't be loaded: {error}.", where=where) from error
    if not (folder / "Dockerfile").is_file():
        raise InputError(f"The snapshot has no Dockerfile in {folder}.", where=where)
    return folder
