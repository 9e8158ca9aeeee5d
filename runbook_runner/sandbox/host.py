"""Host sandbox: a temporary folder and a scrubbed environment on this machine. No isolation: its user is to be told."""

import os
from collections.abc import Sequence
from pathlib import Path

from runbook_runner import settings
from runbook_runner.sandbox import GatewayAddress, SandboxSpec
from runbook_runner.sandbox.folder import FolderSandbox, find_folder, open_folder
from runbook_runner.sandbox.host_exec import Orders
from runbook_runner.sandbox.paths import app_rewriter

_HOME = f"{settings.PRIVATE}/home"
_TMP = f"{_HOME}/.tmp"
# What a program needs to find its tools and its language; nothing else of the user's environment is passed on.
_KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", *settings.CA_VARIABLES)


def find_leftover(temp: Path, run_id: str) -> "HostSandbox | None":
    """The work folder a dead run left below the temporary folder it used, to get files from and to stop. Its
    processes have ended with their run."""
    folder = find_folder(temp, run_id)
    return HostSandbox(SandboxSpec(run_id=run_id), folder=folder) if folder else None


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
        kept.setdefault("PATH", os.defpath)
        return kept | {"TERM": "dumb", "HOME": str(self._path(_HOME)), "TMPDIR": str(self._path(_TMP))}
