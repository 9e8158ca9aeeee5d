"""Looking at a cloned folder runs nothing of it, reads and writes nothing outside it, and waits for nothing."""

import os
from pathlib import Path
from typing import Any

import pytest

RUNBOOK = "---\nagent: shell\nversion: 1\n---\n# n\n| a | b |\n|-|-|\n|long cell|SECRETWORD|\n"


@pytest.fixture
def outside(runbook: Any) -> Path:
    """A runbook beside the clone, which is the current folder."""
    notes = runbook.cwd / "notes.md"
    notes.write_text(RUNBOOK)
    runbook.cwd = runbook.cwd / "clone"
    (runbook.cwd / ".git").mkdir(parents=True)
    return notes


@pytest.mark.parametrize(
    "command",
    [
        ("fmt", "."),
        ("fmt", "n.runbook.md"),
        ("fmt", "*.runbook.md"),
        ("check", "--fix", "."),
        ("check", "n.runbook.md"),
        ("migrate", "--write", "n.runbook.md"),
        ("show", "n.runbook.md"),
        ("run", "--dry-run", "n.runbook.md"),
    ],
)
def test_a_link_out_of_the_clone_is_neither_read_nor_written(runbook: Any, outside: Path, command: tuple[str]) -> None:
    (runbook.cwd / "n.runbook.md").symlink_to("../notes.md")
    ran = runbook(*command)
    assert ran.code in (1, 2)
    assert "a link that leads out of" in ran.out + ran.err
    assert "SECRETWORD" not in ran.out + ran.err
    assert outside.read_text() == RUNBOOK


def test_a_link_within_the_clone_stays_one(runbook: Any, outside: Path) -> None:
    (runbook.cwd / "docs").mkdir()
    (runbook.cwd / "docs" / "real.md").write_text(RUNBOOK)
    (runbook.cwd / "n.runbook.md").symlink_to("docs/real.md")
    assert runbook("fmt", ".").code == 0
    assert (runbook.cwd / "n.runbook.md").is_symlink()
    assert (runbook.cwd / "docs" / "real.md").read_text() != RUNBOOK


def test_a_clone_without_a_repository_is_its_own_folder(runbook: Any, outside: Path) -> None:
    (runbook.cwd / ".git").rmdir()
    (runbook.cwd / "n.runbook.md").symlink_to("../notes.md")
    runbook("fmt", ".")
    assert outside.read_text() == RUNBOOK


def test_a_glob_does_not_go_through_a_link_to_a_folder(runbook: Any, outside: Path) -> None:
    (runbook.cwd / "away").symlink_to("..")
    assert "notes.md" not in runbook("check", "*/*.md").out
    runbook("fmt", "*/*.md", "**/notes.md")
    assert outside.read_text() == RUNBOOK


@pytest.mark.parametrize("command", [("check", "."), ("check", "RUNBOOK.md"), ("fmt", "RUNBOOK.md"), ("run", ".")])
def test_a_pipe_is_not_waited_for(runbook: Any, outside: Path, command: tuple[str]) -> None:
    os.mkfifo(runbook.cwd / "RUNBOOK.md")
    assert runbook(*command, timeout=60).code in (1, 2)


def test_settings_and_agents_of_a_clone_are_regular_files(runbook: Any, outside: Path) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.replace("shell", "odd"))
    (runbook.cwd / ".runbook" / "agents").mkdir(parents=True)
    os.mkfifo(runbook.cwd / ".runbook" / "agents" / "odd.toml")
    (runbook.cwd / ".runbook" / "agents" / "far.toml").symlink_to(outside)
    for command in (("check", "."), ("show", "."), ("doctor",), ("snapshots", "list"), ("schema",)):
        assert "SECRETWORD" not in runbook(*command, timeout=60).out
    os.mkfifo(runbook.cwd / "pyproject.toml")
    (runbook.cwd / ".runbook" / "config.toml").symlink_to("/dev/zero")
    assert runbook("check", ".", timeout=60).code == 1


def test_new_writes_nothing_behind_a_link(runbook: Any, outside: Path) -> None:
    (runbook.cwd / "task").symlink_to("..")
    ran = runbook("new", "task")
    assert ran.code == 2
    assert "is a link" in ran.err
    assert not (outside.parent / "RUNBOOK.md").exists()


def test_what_a_shell_opens_for_its_user_is_read(runbook: Any, outside: Path) -> None:
    runbook.under = ("bash", "-c", f'"$0" "$@" <(cat {outside})')
    assert "SECRETWORD" in runbook("fmt", "--diff", "/dev/null").out + runbook("check", "/dev/null").out
