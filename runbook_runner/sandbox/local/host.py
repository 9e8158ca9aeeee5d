"""Host sandbox: a temporary folder and a scrubbed environment on this machine. It isolates nothing."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError
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
