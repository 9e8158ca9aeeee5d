"""Host sandbox: a temporary folder and a scrubbed environment on this machine. It isolates nothing."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError
from runbook_runner.sandbox.held_files import threads
from runbook_runner.sandbox.local.folder_sandbox import FolderSandbox, language_variables
from runbook_runner.sandbox.local.process import Orders
from runbook_runner.sandbox.temp_folders import open_folder

_HOME = f"{settings.PRIVATE}/home"
_TMP = f"{_HOME}/.tmp"
# What a program needs to find its tools; of the user's environment only these and the language are passed on.
_KEPT = ("PATH", *settings.CA_VARIABLES)
# What ends or changes a word in a shell: most runbooks write `/app/...` without quotes.
_SPECIAL = re.compile(r"""[\s"'`$&|;<>()*?{}\[\]\\]""")


class HostSandbox(FolderSandbox):
    """Implements `Sandbox`. Use as a context manager."""

    backend = "host"

    def _make(self) -> None:
        if special := _SPECIAL.search(self._root):
            raise NotReadyError(
                f"Commands of a runbook can't name {self._root!r}: {special[0]!r} means more to a shell.",
                hint="Set RUNBOOK_DATA to a folder without that, or use --sandbox docker or --sandbox bubblewrap.",
            )
        for folder in (_HOME, _TMP):
            open_folder(self._path(folder))

    def _release(self) -> None:
        """A supervisor that was killed could end nothing: what it has left is known by its home."""
        if self._root and sys.platform == "linux":
            _end_those_at_home_in(self._path(_HOME))

    def _command(
        self, argv: Sequence[str], environment: dict[str, str], cwd: str, deadline_s: float
    ) -> tuple[list[str], Orders, Sequence[int]]:
        orders = Orders(
            environment,
            cwd=str(self._path(cwd)),
            deadline_s=deadline_s,
            memory_bytes=self._spec.memory_bytes,
            open_files=self._spec.open_files,
        )
        return list(argv), orders, ()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ} | language_variables()
        if self._spec.ca_bundle:
            kept |= dict.fromkeys(settings.CA_VARIABLES, str(self._spec.ca_bundle))
        tools = [str(Path(tool).parent) for tool in self._spec.host_tools if Path(tool).is_absolute()]
        # Not what is beside the runbook; what the user's PATH names by its full path is the user's choice.
        entries = filter(os.path.isabs, kept.get("PATH", os.defpath).split(os.pathsep))
        kept["PATH"] = os.pathsep.join([*entries, *tools])
        return kept | {"TERM": "dumb", "HOME": str(self._path(_HOME)), "TMPDIR": str(self._path(_TMP))}


def _end_those_at_home_in(folder: Path) -> None:
    """Ends every process of this user whose variable HOME is exactly that folder, until there is none. Linux only."""
    variable = b"\0HOME=%b\0" % os.fsencode(folder)
    until = time.monotonic() + settings.GRACE_S
    while list(_end(variable)) and time.monotonic() < until:
        time.sleep(0.005)


def _end(variable: bytes) -> Iterator[int]:
    """Kills and yields the processes that were started with a variable; each is held while it is looked at, so that
    its number can't become another's."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - twice as fast
        if not entry.isdigit():
            continue
        with suppress(OSError):  # it has ended, or is another user's
            process = os.pidfd_open(int(entry))
            try:
                if any(variable in b"\0%b\0" % environment for environment in _environments(int(entry))):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    yield int(entry)
            finally:
                os.close(process)


def _environments(process: int) -> Iterator[bytes]:
    """Yields what each thread shows: one that has ended, as the first one may have, shows nothing."""
    for thread in threads(process):
        with suppress(OSError):
            yield Path(thread, "environ").read_bytes()
