"""Sandbox: the temporary folders of sandboxes: made, found again by whoever comes after a death, removed."""

import errno
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Final

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError, SandboxError

_PREFIX: Final = "runbook-"
MEMORY: Final = Path("/dev/shm")  # noqa: S108 (for what must not reach a disk)
# Below what is the runner's own in every sandbox: of a host sandbox the folder itself is `/app`.
_OWNER: Final = f"{settings.PRIVATE.removeprefix(f'{settings.APP}/')}/owner.json"


@dataclass(frozen=True)
class OwnedFolder:
    path: Path
    backend: str
    labels: Mapping[str, str]


def temp_folder() -> Path:
    """Where this system wants such folders. Raises NotReadyError when nothing can be written there."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise NotReadyError(
            "There is no folder for temporary files that can be written to.",
            hint="Is the disk full? `runbook clean` removes what dead runs have left; TMPDIR names another folder.",
            details=error.strerror,
        ) from error


def usual_folder() -> Path:
    """The same to look for what is there, on a full disk too."""
    try:
        return temp_folder()
    except NotReadyError:
        return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


def make_folder(run_id: str, backend: str, labels: Mapping[str, str]) -> Path:
    """Below the system's folder for such things; only its owner may enter. labels: say whose it is; without any, nobody
    will clean up after its owner. Raises OSError."""
    _check_place(tempfile.gettempdir())
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"{_PREFIX}{run_id}-")))
    if labels:
        owner = folder / _OWNER
        owner.parent.mkdir()
        owner.write_text(json.dumps({"backend": backend, "labels": dict(labels)}))
    return folder


def _check_place(place: str) -> None:
    """Its name goes into events and labels."""
    try:
        place.encode()
    except UnicodeEncodeError as error:
        raise OSError(errno.EILSEQ, f"the name of {place!a} is no UTF-8; set TMPDIR to another folder") from error


@contextmanager
def memory_folder(run_id: str) -> Iterator[Path]:
    """For copies that hold secrets: in memory where the system has such a folder. Found again like the others."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{run_id}-", dir=place) as folder:
        yield Path(folder)


def open_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def find_folders(temp: Path, run_id: str) -> tuple[Path, ...]:
    """What a run has below the temporary folder it used: a work folder, or the sockets of its container."""
    return tuple(_ours(temp, f"{escape(run_id)}-*"))


def owned_folders(temp: Path) -> Iterator[OwnedFolder]:
    """All that say whose they are."""
    for folder in _ours(temp, "*"):
        if owned := owned_folder(folder):
            yield owned


def owned_folder(folder: Path) -> OwnedFolder | None:
    """`None`: it does not say whose it is, or is not there any more."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / _OWNER).read_bytes())
        return OwnedFolder(folder, str(told["backend"]), {str(k): str(v) for k, v in told["labels"].items()})
    return None


def _ours(temp: Path, pattern: str) -> Iterator[Path]:
    with suppress(OSError):
        for folder in sorted(temp.resolve().glob(f"{_PREFIX}{pattern}")):
            seen = folder.lstat()
            # Anybody may write there: a link or a folder of another user's is not ours to remove.
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid():
                yield folder


_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GOING: Final = ".removed"
_DEPTH: Final = 50  # each level takes a descriptor
_CHANGING: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_PATIENCE_S: Final = settings.GRACE_S + 2  # what a dead run's command writes until its supervisor has ended it


def remove_folder(folder: Path) -> None:
    """Follows no link; a missing one is fine. Raises SandboxError."""
    until = time.monotonic() + _PATIENCE_S
    going = _renamed(folder)
    while os.path.lexists(going):
        try:
            _remove(going)
        except OSError as error:
            if error.errno not in _CHANGING or time.monotonic() >= until:
                hint = "Remove it by hand."
                raise SandboxError(f"Can't remove the work folder {going}: {error}.", hint=hint) from error
            time.sleep(0.05)


def _renamed(folder: Path) -> Path:
    """Whoever visits it sees it gone at once, and leaves; a later start knows it by the beginning of its name."""
    going = folder.with_name(folder.name.removesuffix(_GOING) + _GOING)
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder.rename(going)
    return folder


def _remove(top: Path) -> None:
    """What is too deep comes up to the top first, so that neither a path nor the stack grows with the depth."""
    if stat.S_ISDIR(top.lstat().st_mode):
        top.chmod(0o700)
    here = os.open(top, _FOLDER)
    try:
        while inner := list(_folders_left(here)):
            for name in inner:
                _dissolve(here, name, top=here, depth=1)
    finally:
        os.close(here)
    top.rmdir()


def _dissolve(parent: int, name: str, *, top: int, depth: int) -> None:
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        for inner in _folders_left(folder):
            if depth < _DEPTH:
                _dissolve(folder, inner, top=top, depth=depth + 1)
            else:
                os.rename(inner, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)


def _folders_left(folder: int) -> Iterator[str]:
    """The folders in it, each to be entered now; all else in it is removed."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.name, 0o700, dir_fd=folder)
            yield entry.name
        else:
            os.unlink(entry.name, dir_fd=folder)
