"""A program is looked for where the user has installed it, asked for its version, and any answer is survived."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_runner.core.disk.repository import repository_of
from runbook_runner.core.programs import find_program, version_of
from runbook_runner.trajectory.cost import runs


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


def _executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_programs_of_the_project_and_of_relative_entries_are_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, users = tmp_path / "project", _executable(tmp_path / "bin/some-tool")
    _executable(project / "bin/some-tool")
    (project / ".git").mkdir()
    (project / "sub").mkdir()
    (tmp_path / "link").symlink_to(project / "bin")
    monkeypatch.chdir(project / "sub")
    entries = ("../bin", ".", "", str(project / "bin"), f"{tmp_path}/link", str(users.parent))
    monkeypatch.setenv("PATH", os.pathsep.join(entries))
    assert find_program("some-tool") == str(users)
    assert find_program("../bin/some-tool") is None
    assert find_program(str(users)) == str(users)


def test_programs_of_the_user_are_found_while_the_working_folder_is_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = _executable(tmp_path / ".local/bin/some-tool")
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert find_program("some-tool") == str(tool)


@pytest.mark.parametrize(("says", "left"), [("2.1.0", []), ("$(cat $HOME/version)", ["made"])])
def test_a_program_that_is_asked_for_its_version_writes_to_the_users_home_only_when_it_tells_it_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, left: list[str]
) -> None:
    tool = _executable(tmp_path / "bin" / "some-tool")
    tool.write_text(f'#!/bin/sh\necho > "$HOME/made"\necho {says}\n')
    home = tmp_path / "home"
    home.mkdir()
    (home / "version").write_text("2.1.0")
    monkeypatch.setenv("HOME", str(home))
    assert version_of(tool) == "2.1.0"
    assert [path.name for path in home.iterdir() if path.name != "version"] == left


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder below one that is closed to this user, as after `su` in a folder of root's."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    here = top / "closed" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    here.parent.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield here
    os.seteuid(user)
    here.parent.chmod(0o700)
    shutil.rmtree(top)


def test_a_closed_folder_above_the_working_folder_is_no_error(closed: Path) -> None:
    assert find_program("sh")
    assert repository_of(closed) == closed
    assert list(runs(closed / ".runbook", None, [])) == []
