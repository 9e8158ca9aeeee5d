"""A program is asked for its version, and any answer is survived."""

from pathlib import Path

import pytest

from runbook_runner.core.programs import version_of


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'tool 1.2.3-beta (x)'", "1.2.3-beta"),
        ("echo tool", None),
        ("printf 'v\\377 2.0'; exit 1", "2.0"),
        ("exec sleep 60", None),
    ],
)
def test_the_first_version_it_prints_is_taken(tmp_path: Path, script: str, version: str | None) -> None:
    program = tmp_path / "tool"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert version_of(program, timeout_s=1.0 if "sleep" in script else 20.0) == version


def test_a_program_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert version_of(tmp_path / "absent") is None
