"""Runner: the results that are there before the agent starts: an image or a start that failed has left them."""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

from runbook_runner.core import settings
from runbook_runner.core.spec import Limits
from runbook_runner.sandbox.base import Readable, Sandbox, Stamp, Wanted
from runbook_runner.sandbox.temp_folders import memory_folder


class Earlier:
    """`look` before each start of the agent; afterwards `files` are not its results, unless they have changed."""

    def __init__(
        self,
        sandbox: Sandbox,
        work: Path,
        limits: Limits,
        *,
        brings_files: bool,
        note: Callable[[Mapping[str, Stamp]], None],
    ):
        """work: that of the run's claim. brings_files: there may be some before the first start. note: keeps what was
        found for the recovery of a run whose process dies."""
        self.files: Mapping[str, Stamp] = {}
        self._note = note
        self._sandbox = sandbox
        self._work = work
        self._wanted = Wanted(limits.results_bytes, limits.results_files, scrub=_NoContent())
        self._has_files = brings_files

    def look(self) -> None:
        if self._has_files:
            with memory_folder(self._work) as folder:
                received = self._sandbox.get(settings.RESULTS, folder / "names", self._wanted)
            self.files = {file.sandbox_path: file.stamp for file in received.files}
            if self.files:
                self._note(self.files)
        self._has_files = True


def changed_since(sandbox: Sandbox, work: Path, limits: Limits, stamps: Mapping[str, Stamp]) -> list[str]:
    """Returns the sandbox paths of results that are new or have changed since they had these stamps."""
    wanted = Wanted(limits.results_bytes, limits.results_files, scrub=_NoContent(), before=stamps)
    with memory_folder(work) as folder:
        return [file.sandbox_path for file in sandbox.get(settings.RESULTS, folder / "names", wanted).files]


class _NoContent:
    def name(self, name: str, /) -> str:
        return name

    def __call__(self, name: str, content: Readable, /) -> Readable:
        return BytesIO()
