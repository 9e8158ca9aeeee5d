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
        ("optimize", "--apply", "n.runbook.md"),
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


@pytest.mark.parametrize("repository", ["", "inner", "notes"])
@pytest.mark.parametrize("command", [("fmt", "docs"), ("fmt", "docs/n.runbook.md"), ("check", "--fix", "docs")])
def test_nor_is_what_is_behind_a_link_to_a_folder(
    runbook: Any, outside: Path, command: tuple[str, str], repository: str
) -> None:
    notes = runbook.cwd.parent / "notes"
    (notes / "inner" / repository).mkdir(parents=True)
    for marked in filter(None, (repository,)):
        (notes.parent / marked / ".git" if marked == "notes" else notes / marked / ".git").mkdir()
    for folder in (notes, notes / "inner"):
        (folder / "n.runbook.md").write_text(RUNBOOK)
    (runbook.cwd / "docs").symlink_to("../notes")
    (runbook.cwd / "more").symlink_to("../notes/inner")
    for verb, path in (command[:-1], command[-1]), (command[:-1], command[-1].replace("docs", "more")):
        ran = runbook(*verb, path)
        assert ran.code in (1, 2)
        assert "is a link that leads out of" in ran.out + ran.err
        assert "SECRETWORD" not in ran.out + ran.err
    assert {(folder / "n.runbook.md").read_text() for folder in (notes, notes / "inner")} == {RUNBOOK}


def test_a_clone_that_its_user_reaches_through_a_link_is_a_clone(runbook: Any, outside: Path) -> None:
    (runbook.cwd / "docs").mkdir()
    (runbook.cwd / "docs" / "n.runbook.md").write_text(RUNBOOK)
    (runbook.cwd / "near").symlink_to("docs")
    (runbook.cwd.parent / "way").symlink_to(runbook.cwd)
    for path in ("way", "way/docs", "way/near/n.runbook.md"):
        assert runbook("fmt", "--check", runbook.cwd.parent / path).code == 1
    assert runbook("fmt", runbook.cwd.parent / "way" / "near").code == 0
    assert runbook("fmt", runbook.cwd / ".." / "notes.md").code == 0
    assert outside.read_text() != RUNBOOK


@pytest.mark.parametrize("option", ["-f", "--params", "--model-script", "--input"])
@pytest.mark.parametrize("path", ["key.csv", "data/key"])
@pytest.mark.parametrize("place", ["clone", "archive here", "archive elsewhere", "archive below earlier runs"])
def test_no_file_for_a_run_is_behind_a_link_out_of_the_clone(
    runbook: Any, outside: Path, option: str, path: str, place: str
) -> None:
    folder = runbook.cwd
    if place != "clone":
        (folder / ".git").rmdir()
    (folder.parent / "keys").mkdir()
    (folder.parent / "keys" / "key").write_text("SECRETWORD: x\n")
    (folder / "key.csv").symlink_to("../keys/key")
    (folder / "data").symlink_to("../keys")
    (folder / "RUNBOOK.md").write_text(RUNBOOK.replace("shell", "claude-code"))
    if place == "archive elsewhere":
        runbook.cwd = folder.parent / "keys"
    if place == "archive below earlier runs":
        runbook.cwd = folder.parent
        (folder.parent / ".runbook").mkdir()
    ran = runbook("run", "--dry-run", folder, option, folder / path)
    assert ran.code == 2
    assert "is a link that leads out of" in ran.err
    assert "SECRETWORD" not in ran.out + ran.err


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


def test_links_to_the_folder_itself_make_no_more_files_of_a_glob(runbook: Any, outside: Path) -> None:
    (runbook.cwd / "a" / "b").mkdir(parents=True)
    for name in ("RUNBOOK.md", "a/RUNBOOK.md", "a/b/x.md"):
        (runbook.cwd / name).write_text(RUNBOOK)
    for name in "cdefghij":
        (runbook.cwd / name).symlink_to(".")
    for pattern, files in (
        ("**/*.md", {"RUNBOOK.md", "a/RUNBOOK.md", "a/b/x.md"}),
        ("**/b/*.md", {"a/b/x.md"}),
        (f"{runbook.cwd}/a/**/RUNBOOK.md", {f"{runbook.cwd}/a/RUNBOOK.md"}),
        ("./*/[!R]/x.md", {"a/b/x.md"}),
        ("*", {"RUNBOOK.md", "a/RUNBOOK.md"}),
    ):
        found = runbook("check", pattern, "--format", "json", timeout=60).json["findings"]
        assert {finding["file"] for finding in found} == files, pattern


def test_a_glob_over_very_many_folders_is_refused(runbook: Any, outside: Path, nested: Any) -> None:
    nested(runbook.cwd, 1000)
    ran = runbook("check", "**/*.md")
    assert (ran.code, "more than 200 folders in each other" in ran.err) == (2, True), ran.err


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


@pytest.mark.parametrize("options", [("task",), ("x", "--out", "task"), ("x", "--out", "task/deep")])
def test_new_writes_nothing_behind_a_link(runbook: Any, outside: Path, options: tuple[str]) -> None:
    (runbook.cwd / "task").symlink_to("..")
    ran = runbook("new", *options)
    assert ran.code == 2
    assert "is a link" in ran.err
    assert {path.name for path in outside.parent.iterdir()} == {"clone", "notes.md"}


def test_what_a_shell_opens_for_its_user_is_read(runbook: Any, outside: Path) -> None:
    runbook.under = ("bash", "-c", f'"$0" "$@" <(cat {outside})')
    assert "SECRETWORD" in runbook("fmt", "--diff", "/dev/null").out + runbook("check", "/dev/null").out


@pytest.mark.parametrize("command", ["check", "fmt"])
def test_a_link_that_leads_in_a_circle_is_passed_over_in_a_folder_and_named_by_itself(
    runbook: Any, command: str
) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    (runbook.cwd / "n.runbook.md").symlink_to("n.runbook.md")
    whole = runbook(command, ".")
    assert "1 file" in whole.out + whole.err
    ran = runbook(command, "n.runbook.md")
    assert "is a link, not a regular file" in ran.out + ran.err
