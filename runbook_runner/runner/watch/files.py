"""Runner, watch: which files a run uses: those whose change starts it again. What runs write is never among them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from runbook_runner.core.disk.walk import files_below
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_folder, upwards
from runbook_runner.gateway.cassette.cassette import INDEX_FILE
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.sandbox.images.snapshots import UnknownSnapshotError, find_snapshot, with_bases
from runbook_runner.trajectory.folders import EVENTS_FILE
from runbook_runner.trajectory.index.names import path_of

_SETTINGS: Final = (".runbook/config.toml", "pyproject.toml")
_MOST_BELOW: Final = 20_000


class Used(NamedTuple):
    """Absolute paths, links not resolved."""

    files: frozenset[Path]
    """They may be missing."""
    folders: frozenset[Path]
    """What is in them counts, at any depth."""
    private: frozenset[Path]
    """Those of the files whose content is not shown."""

    def every(self) -> set[Path]:
        """The files, with those that are in the folders now."""
        found = set(self.files)
        for folder in self.folders:
            with suppress(InputError):  # it is gone, or has too much in it
                found.update(files_below(folder, most=_MOST_BELOW))
        return found


def used_by(document: Path, request: RunRequest, prepared: PreparedRun | None, recording: str | None) -> Used:
    """prepared: `None` when the run could not be prepared: then only what the request names is known. recording: the
    user's."""
    folder = document.resolve().parent
    private = [path for path in (request.options.env_file, folder / ".env") if path]
    named = [request.parameter_file, request.fixture, request.model_script, request.judge_script, *request.files]
    files = [document, *private, *filter(None, named), *of_recording(recording), *_settings((folder, *request.near))]
    folders: list[Path] = []
    if prepared:
        files += (Path(item.source) for item in prepared.spec.inputs)
        files += [prepared.agent.declared.path] if prepared.agent.declared else []
        folders += (source.folder for source in prepared.sources if source.folder)
        folders += _snapshot_folders(prepared)
    return Used(_absolute(files), _absolute(folders), _absolute(private))


def own_output(prepared: PreparedRun) -> tuple[Path, ...]:
    """Real paths of the folders that a run writes to."""
    places = (prepared.settings.home, prepared.settings.data, prepared.options.out)
    return tuple(Path(os.path.realpath(place)) for place in places if place)


def _absolute(paths: Iterable[Path]) -> frozenset[Path]:
    return frozenset(Path(os.path.abspath(os.path.expanduser(path))) for path in paths)  # noqa: PTH100, PTH111 - links stay


def of_recording(name: str | None) -> Iterator[Path]:
    """The files by which a change of a recording is noticed that the user names by its folder."""
    folder = path_of(name) if name else None
    if folder and is_folder(folder):
        yield from (folder / EVENTS_FILE, folder / "model" / INDEX_FILE)


def _settings(near: Iterable[Path]) -> Iterator[Path]:
    for folder in dict.fromkeys(upwards(near)):
        yield from (folder / name for name in _SETTINGS if is_file(folder / name))


def _snapshot_folders(prepared: PreparedRun) -> Iterator[Path]:
    """Of those that a project offers; the others come with this program, or with a package."""
    spec = prepared.spec
    if spec.snapshot and prepared.chosen and prepared.chosen.backend.uses_images:
        with suppress(UnknownSnapshotError, InputError):
            snapshots = with_bases(find_snapshot(spec.snapshot, spec.near), spec.near)
            yield from (one.folder for one in snapshots if one.origin == "user")
