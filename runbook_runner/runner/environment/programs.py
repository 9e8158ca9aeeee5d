"""Runner, environment: the agent's program on this machine: on PATH, or installed once at its pinned version below the
user's data folder."""

import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runbook_runner.agents.base import Agent
from runbook_runner.core import programs, settings
from runbook_runner.core.disk.lock import locked
from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import Report
from runbook_runner.core.files import is_file, make_folder
from runbook_runner.core.programs import search_path, version_of
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import Lines

if TYPE_CHECKING:
    from runbook_runner.sandbox.local.process import HostProcess

_DONE: Final = ".installed"
_INSTALL_S: Final = 900.0
_KEPT_LINES: Final = 15
# What an installer needs to find its registry and its caches. No keys: the code it runs comes from that registry.
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", *settings.CA_VARIABLES)
_KEPT_PREFIXES: Final = ("LC_", "NPM_CONFIG_", "PIP_", "UV_", "XDG_")


@dataclass(frozen=True)
class Program:
    path: Path
    version: str | None
    """`None` for a program of the user's own until `provide_program` has asked it."""


def find_program(agent: Agent, data: Path) -> Program | None:
    """Returns the user's own program, else the installed one; `None` when there is neither. Raises NotReadyError for
    a data folder that others may write to."""
    if (where := programs.find_program(agent.binary)) and "/" not in agent.binary:
        return Program(Path(where), version=None)
    if not agent.install.host_commands:
        return None
    own = _folder(agent, data)
    there = is_file(own / _DONE) and private_folder(data)
    return Program(own / "bin" / agent.binary, agent.version) if there else None


def require_program(agent: Agent, data: Path) -> None:
    """Raises NotReadyError when the program is missing and can't be installed."""
    if find_program(agent, data):
        return
    if "/" in agent.binary:
        raise NotReadyError(
            f"The agent {agent.name} names its program {agent.binary!r} by a path: without an image that would be a "
            "file of this machine or of a project.",
            hint=f"Put its folder on PATH and write `{Path(agent.binary).name}`, or use --sandbox docker.",
        )
    if not agent.install.host_commands:
        install = f"Install it with `{agent.install.hint}`, or use --sandbox docker." if agent.install.hint else None
        raise NotReadyError(f"There is no {agent.binary!r} on this machine's PATH.", hint=install)
    tool = agent.install.host_needs
    if tool and programs.find_program(tool) is None:
        raise NotReadyError(
            f"There is no {agent.binary!r} on this machine's PATH, nor a {tool!r} to install it with.",
            hint="Install Node.js 22 or newer, or use --sandbox docker.",
        )


def require_present(agent: Agent, data: Path, recorded: str | None) -> None:
    """recorded: the version that the run had. Raises NotReadyError, which says how to get it, when `provide_program`
    would install the program."""
    require_program(agent, data)
    if find_program(agent, data) is None:
        raise NotReadyError(
            f"This machine does not have the CLI of this run: {agent.name} {recorded or agent.version}.",
            hint=f"`{agent.install.hint}` installs it. --network full lets the replay install it, where there is a "
            "network, and --sandbox docker runs it from an image that has it.",
        )


def plan_program(agent: Agent, data: Path) -> str:
    """Returns which program will run, for people."""
    found = find_program(agent, data)
    if found:
        return str(found.path)
    return f"{agent.binary} {agent.version} (installed first into {_folder(agent, data)})"


def provide_program(agent: Agent, asked: Settings, report: Report) -> Program:
    """Installs it if need be, once for all runs of this user. Raises NotReadyError with the installer's last lines."""
    found = find_program(agent, asked.data)
    if found:
        return replace(found, version=found.version or version_of(found.path)) if agent.install.host_commands else found
    require_program(agent, asked.data)
    folder = _folder(agent, asked.data)
    try:
        make_folder(private_folder(asked.data) / folder.parent.name)
        with locked(folder.with_name(f"{folder.name}.lock"), report, f"installs {agent.name}"):
            if not is_file(folder / _DONE):
                _install(agent, folder, asked, report)
    except OSError as error:
        raise NotReadyError(f"{agent.name} can't be installed: {error.strerror}.", where=str(folder)) from error
    return Program(folder / "bin" / agent.binary, agent.version)


def _install(agent: Agent, folder: Path, asked: Settings, report: Report) -> None:
    began = time.monotonic()
    report(f"installing {agent.name} {agent.version} into {folder}, once")
    with suppress(FileNotFoundError):  # of an installation that broke off
        shutil.rmtree(folder)
    folder.mkdir()
    from runbook_runner.sandbox.local.process import HostProcess, Orders  # not for runs in Docker

    orders = Orders(
        _environment(folder, asked),
        cwd=str(folder),
        deadline_s=_INSTALL_S,
        memory_bytes=None,
        open_files=settings.DEFAULT_OPEN_FILES,
    )
    process = HostProcess(["sh", "-ec", agent.install.host_commands], orders, stdin=None)
    last = _follow(process, report)
    exit_ = process.wait()
    if exit_.code != 0:
        why = f"exit code {exit_.code}" if exit_.ended_by == "exit" else f"not done after {_INSTALL_S:g} s"
        raise NotReadyError(
            f"{agent.name} {agent.version} could not be installed ({why}).",
            hint="Is the package registry reachable? A CLI of your own on PATH will do, or --sandbox docker.",
            details="\n".join(last),
        )
    (folder / _DONE).touch()
    report(f"installed {agent.name} {agent.version} in {time.monotonic() - began:.0f} s")


def _follow(process: "HostProcess", report: Report) -> list[str]:
    """Reports what it says, line by line; its last lines. Who breaks off ends it."""
    last: list[str] = []
    lines = Lines()
    try:
        for chunk in process:
            for line in filter(None, map(str.strip, lines.feed(chunk.data.decode("utf-8", "replace")))):
                last = [*last[1 - _KEPT_LINES :], line]
                report(line, detail=True)
    except BaseException:
        process.abandon(settings.GRACE_S + 5)
        raise
    return [*last, *lines.end()]


def _environment(folder: Path, asked: Settings) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT or name.upper().startswith(_KEPT_PREFIXES)
    }
    if asked.ca_bundle:
        kept |= dict.fromkeys(settings.CA_VARIABLES, str(asked.ca_bundle))
    return kept | {"PATH": search_path(), "PREFIX": str(folder), "PYTHON": sys.executable}


def _folder(agent: Agent, data: Path) -> Path:
    name = f"{agent.name}-{agent.version}".replace("/", "-")  # a project's file may say so
    return data / "agents" / name
