"""The installation of an agent's program on this machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from runbook_runner.agents.install import Installation
from runbook_runner.agents.registry import find_agent
from runbook_runner.core.settings import Settings
from runbook_runner.runner.environment.programs import provide_program


def test_an_installer_that_ends_no_line_is_told_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path))
    commands = "head -c 500000 /dev/zero | tr '\\0' x"
    agent = replace(find_agent("codex"), binary="no-such-program", install=Installation(host_commands=commands))
    said: list[str] = []
    provide_program(agent, Settings.load(), lambda line, **_: said.append(line))
    assert 4 <= len([line for line in said if line.startswith("xxx")]) <= 8
