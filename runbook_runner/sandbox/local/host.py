"""Host sandbox: a temporary folder and a scrubbed environment on this machine. No isolation: its user is to be told."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError
from runbook_runner.sandbox.base import GatewayAddress
from runbook_runner.sandbox.local.folder_sandbox import FolderSandbox
from runbook_runner.sandbox.local.process import Orders
from runbook_runner.sandbox.paths import app_rewriter
from runbook_runner.sandbox.temp_folders import open_folder

_HOME = f"{settings.PRIVATE}/home"
_TMP = f"{_HOME}/.tmp"
# What a program needs to find its tools and its language; nothing else of the user's environment is passed on.
_KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", *settings.CA_VARIABLES)

# What ends or changes a word of a shell's: most runbooks write `/app/...` without quotes.
_UNSAYABLE = re.compile(r"""[\s"'`$&|;<>()*?{}\[\]\\]""")


class HostSandbox(FolderSandbox):
    """Implements `Sandbox`. Use as a context manager."""

    backend = "host"

    @property
    def app(self) -> str:
        return self._root

    def localise(self, text: str) -> str:
        return app_rewriter(self._root)(text)

    def gateway_host(self) -> GatewayAddress:
        return GatewayAddress(bind="127.0.0.1", reach="127.0.0.1")

    @property
    def _config(self) -> str:
        """Kept beside our other private files."""
        return f"{self._root}{settings.PRIVATE.removeprefix(settings.APP)}/etc"

    @property
    def _scratch(self) -> str:
        return str(self._path(settings.PRIVATE))

    def _make(self) -> None:
        if unsayable := _UNSAYABLE.search(self._root):
            raise NotReadyError(
                f"Commands of a runbook can't name {self._root!r}: {unsayable[0]!r} means more to a shell.",
                hint="Set TMPDIR to a folder without that, or use --sandbox docker or --sandbox bubblewrap.",
            )
        for folder in (_HOME, _TMP):
            open_folder(self._path(folder))

    def _command(self, argv: Sequence[str], cwd: str, deadline_s: float) -> tuple[list[str], Orders, Sequence[int]]:
        orders = Orders(
            cwd=str(self._path(cwd)),
            deadline_s=deadline_s,
            memory_bytes=self._spec.memory_bytes,
            open_files=self._spec.open_files,
        )
        return list(argv), orders, ()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith("LC_")}
        if self._spec.ca_bundle:
            kept |= dict.fromkeys(settings.CA_VARIABLES, str(self._spec.ca_bundle))
        tools = [str(Path(tool).parent) for tool in self._spec.host_tools if Path(tool).is_absolute()]
        kept["PATH"] = os.pathsep.join([kept.get("PATH", os.defpath), *tools])
        return kept | {"TERM": "dumb", "HOME": str(self._path(_HOME)), "TMPDIR": str(self._path(_TMP))}
