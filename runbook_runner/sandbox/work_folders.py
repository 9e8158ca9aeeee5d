"""Sandbox: the temporary folders of sandboxes: made, found again by whoever comes after a death, removed."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Final

from runbook_runner import settings
from runbook_runner.errors import SandboxError

_PREFIX: Final = "runbook-"
MEMORY: Final = Path("/dev/shm")  # noqa: S108 (for what must not reach a disk)
# Below what is the runner's own in every sandbox: of a host sandbox the folder itself is `/app`.
_OWNER: Final = f"{settings.PRIVATE.removeprefix(f'{settings.APP}/')}/owner.json"


@dataclass(frozen=True)
class OwnedFolder:
    path: Path
    backend: str
    labels: Mapping[str, str]


def make_folder(run_id: str, backend: str, labels: Mapping[str, str]) -> Path:
    """Below the system's folder for such things; only its owner may enter. labels: say whose it is; without any, nobody
    will clean up after its owner. Raises OSError."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"{_PREFIX}{run_id}-")))
    if labels:
        owner = folder / _OWNER
        owner.parent.mkdir()
        owner.write_text(json.dumps({"backend": backend, "labels": dict(labels)}))
    return folder


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
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((folder / _OWNER).read_bytes())
            yield OwnedFolder(folder, str(told["backend"]), {str(k): str(v) for k, v in told["labels"].items()})


def _ours(temp: Path, pattern: str) -> Iterator[Path]:
    with suppress(OSError):
        for folder in sorted(temp.resolve().glob(f"{_PREFIX}{pattern}")):
            seen = folder.lstat()
            # Anybody may write there: a link or a folder of another user's is not ours to remove.
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid():
                yield folder


def remove_folder(folder: Path) -> None:
    """Removes a work folder, also when its owner took rights away inside. Follows no link; a missing one is fine.
    Raises SandboxError."""
    with suppress(OSError):
        shutil.rmtree(folder)
    if not os.path.lexists(folder):
        return
    for parent, folders, _ in os.walk(folder):
        for name in (".", *folders):
            path = Path(parent, name)
            if stat.S_ISDIR(path.lstat().st_mode):
                path.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise SandboxError(f"Can't remove the work folder {folder}: {error}.", hint="Remove it by hand.") from error
