"""Runner, bundles: reads what may be a stranger's bundle. Nothing in it is believed before its digest was compared, and
nothing of it decides what is run: an unpacked bundle is a recording like any other."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from runbook_runner.core.disk.private import FOLDER, private_folder, private_opener
from runbook_runner.core.disk.repository_files import HeadError, HeadGuard
from runbook_runner.core.errors import InputError, RecordingError, RunbookError, SandboxError
from runbook_runner.core.files import is_file, make_folder
from runbook_runner.runner.bundles.manifest import MANIFEST, MOST_BYTES, BundledFile, Manifest, read_manifest
from runbook_runner.runner.bundles.names import BOUNDS, require_entries, require_path
from runbook_runner.runner.request.input_zips import Member, is_zip_content, opened
from runbook_runner.sandbox.base import Readable
from runbook_runner.sandbox.temp_folders import remove_folder
from runbook_runner.trajectory.folders import AGENT, EVENTS_FILE, RESULTS
from runbook_runner.trajectory.imports.places import is_of_run
from runbook_runner.trajectory.index.names import path_of

UNPACKED: Final = "bundles"
"""Folder of unpacked ones, in the data folder."""


@dataclass(frozen=True)
class Bundle:
    """An open one."""

    manifest: Manifest
    members: dict[str, Member]
    """Path below the trajectory folder → what it has in it."""

    @contextmanager
    def open(self, file: BundledFile) -> Iterator[Readable]:
        """Its last read raises InputError when the content is not what the manifest says."""
        with self.members[file.place].open() as content:
            yield _Verified(content, file, str(self.members[file.place].archive.filename))


class _Verified:
    def __init__(self, content: Readable, file: BundledFile, where: str):
        self._content, self._file, self._where = content, file, where
        self._digest = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        block = self._content.read(size)
        self._digest.update(block)
        if not block and size and self._digest.hexdigest() != self._file.sha256:
            raise InputError(f"The file {self._file.path!a} in this bundle was changed.", where=self._where)
        return block


def bundle_named(name: str) -> Path | None:
    """The bundle that a name is, where it may be a run's, too; `None`: it is not one."""
    path = path_of(name)
    return path if path and is_zip(path) else None


def is_zip(path: Path) -> bool:
    """Whether the name is that of a file which begins as a zip, be it a broken one."""
    if not is_file(path):
        return False
    with suppress(OSError), path.open("rb") as file:
        return is_zip_content(file.read(4))
    return False


@contextmanager
def opened_bundle(path: Path) -> Iterator[Bundle]:
    """Raises InputError for a zip that is not a bundle, is broken, or could do harm."""
    with opened(path, BOUNDS) as members:
        bundle = bundle_of(path, members)
        if bundle is None:
            hint = "`runbook runs bundle ID` makes one; `runbook import` takes other zips of runs."
            raise InputError(f"This zip is not a bundle: it has no {MANIFEST}.", where=str(path), hint=hint)
        yield bundle


def bundle_of(path: Path, members: tuple[Member, ...]) -> Bundle | None:
    """members: of the open zip. `None` when it has no manifest. Raises as `opened_bundle`."""
    by_name = {member.path: member for member in members}
    if len(by_name) < len(members):
        raise InputError("Two files in this zip have one name.", where=str(path))
    if MANIFEST not in by_name:
        return None
    raw = by_name.pop(MANIFEST)
    if raw.size > MOST_BYTES:
        raise InputError(f"The {MANIFEST} of this bundle has more than {MOST_BYTES >> 20} MB.", where=str(path))
    manifest = read_manifest(raw.content(), f"{path}: {MANIFEST}")
    found: dict[str, Member] = {}
    for file in manifest.files:
        require_path(file.place, str(path))
        member = by_name.pop(file.member, None)
        if member is None or member.size != file.size or file.place in found:
            raise InputError(f"The file {file.path!a} is not in this bundle as its {MANIFEST} says.", where=str(path))
        found[file.place] = member
    require_entries(found, str(path))
    if EVENTS_FILE not in found:
        raise InputError(f"There is no {EVENTS_FILE} in this bundle.", where=str(path))
    if by_name:
        raise InputError(f"The file {next(iter(by_name))!a} is not in the {MANIFEST} of this bundle.", where=str(path))
    return Bundle(manifest, found)


@contextmanager
def unpacked(data: Path, path: Path) -> Iterator[tuple[Path, Manifest]]:
    """data: the user's data folder. The run of a bundle as a trajectory folder, which is there in this block only.
    Raises as `opened_bundle`, and RecordingError; errors of the block name the bundle, not the folder."""
    with _own_folder(private_folder(data, UNPACKED)) as folder:
        try:
            yield folder, _unpack(path, folder)
        except RunbookError as error:
            error.redact(partial(_named_as, path, folder))
            raise


def _named_as(path: Path, folder: Path, text: str) -> str:
    return text.replace(str(folder), str(path))


def _unpack(path: Path, folder: Path) -> Manifest:
    try:
        for name in (AGENT, "model", RESULTS):
            (folder / name).mkdir(FOLDER)
        with opened_bundle(path) as bundle:
            for file in filter(lambda file: is_of_run(PurePosixPath(file.place)), bundle.manifest.files):
                _write(bundle, file, folder / file.place)
            return bundle.manifest
    except HeadError as error:
        raise InputError(f"A file in this bundle is refused: {error}.", where=str(path)) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError("Two files in this bundle can't have one place.", where=str(error.filename)) from error
    except OSError as error:
        hint = "Make room, or set RUNBOOK_DATA to a folder on another disk."
        raise RecordingError(f"The bundle can't be unpacked: {error.strerror}.", where=str(path), hint=hint) from error


def _write(bundle: Bundle, file: BundledFile, target: Path) -> None:
    make_folder(target.parent, FOLDER)
    guard = HeadGuard(target.name)
    with bundle.open(file) as content, open(target, "xb", opener=private_opener) as out:
        while block := content.read(1 << 20):
            guard.look(block)
            out.write(block)


# --- folders of unpacked bundles -----------------------------------------------------------------------------------


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A new folder, which is removed at the end; so are those of processes that have died. As long as it is used, a
    lock is held on it."""
    with ExitStack() as stack:
        with _opened(parent) as making:
            with suppress(OSError):  # a file system may have no locks
                fcntl.flock(making, fcntl.LOCK_EX)
            for left in parent.iterdir():
                with suppress(OSError, SandboxError), _opened(left) as unused:
                    fcntl.flock(unused, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_folder(left)
            folder = parent / os.urandom(8).hex()
            folder.mkdir(FOLDER)
            stack.callback(remove_folder, folder)
            used = stack.enter_context(_opened(folder))
            with suppress(OSError):
                fcntl.flock(used, fcntl.LOCK_EX)
        yield folder


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
