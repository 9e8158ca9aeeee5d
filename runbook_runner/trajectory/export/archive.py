"""Trajectory: the files a run has kept as one zip, under their flattened storage names (contract §1.8, §5.4)."""

import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Final

from runbook_runner.core import ids
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Artifact, Recorded, RunStarted
from runbook_runner.trajectory.imports.places import inner_path
from runbook_runner.trajectory.store import require_no_links

_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)  # so that two exports of a run are the same bytes


def write_archive(folder: Path, events: Iterable[Recorded], out: IO[bytes]) -> list[str]:
    """Returns the paths of the files that the log tells of and that are gone. Raises InputError, also for a link in the
    folder."""
    require_no_links(folder)
    gone: list[str] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _members(events).items():
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.external_attr, info.compress_type = 0o600 << 16, zipfile.ZIP_DEFLATED
            try:
                with open_regular(folder / path) as content, archive.open(info, "w", force_zip64=True) as member:
                    while block := content.read(1 << 20):
                        member.write(block)
            except FileNotFoundError:
                gone.append(str(path))
            except OSError as error:
                raise InputError(f"The file can't be read: {error.strerror}.", where=str(folder / path)) from error
    return gone


def _members(events: Iterable[Recorded]) -> dict[str, PurePosixPath]:
    """Name in the archive → path below the folder; recovery collects the files of a dead run again."""
    run_id, names = "", dict[PurePosixPath, str]()
    for recorded in events:
        event = recorded.event
        if isinstance(event, RunStarted):
            run_id = event.trajectory_id
        elif isinstance(event, Artifact):
            path = inner_path(event.path)
            key = ids.artifact_key("c", "t", run_id, "run", len(names), event.sandbox_path or event.path)
            names.setdefault(path, PurePosixPath(key).name)
    return {name: path for path, name in names.items()}
