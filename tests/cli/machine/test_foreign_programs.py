"""A program of a project is not started by looking, nor without an image."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MACOS = """
import multiprocessing, os, types
from runbook_runner.cli import __main__ as runbook
from runbook_runner.cli.author import check_files

if __name__ == "__main__":  # where processes are not forked
    multiprocessing.set_start_method("spawn")
    os.uname = lambda: types.SimpleNamespace(sysname="Darwin")
    check_files._cores = lambda: 2
    os._exit(runbook.run())
"""


@pytest.fixture
def clone(runbook: Any) -> Path:
    """The current folder, with an agent whose program leaves a file when it runs."""
    runbook.cwd = runbook.cwd / "clone"
    tool = runbook.cwd / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\nenv > {runbook.cwd}/ran; echo 1.2.3\n")
    tool.chmod(0o755)
    (runbook.cwd / ".runbook" / "agents").mkdir(parents=True)
    (runbook.cwd / "RUNBOOK.md").write_text("---\nversion: 1.0.0\nevaluation: programmatic\nagent: nice\n---\n# x\n")
    runbook.env["ANTHROPIC_API_KEY"] = "sk-ant-CANARY"
    here: Path = runbook.cwd
    return here


def declare(clone: Path, argv: str, more: str = "") -> None:
    (clone / ".runbook" / "agents" / "nice.toml").write_text(f'argv = ["{argv}"]\ninstall = ["true"]\n{more}')


@pytest.mark.parametrize("argv", ["bin/tool", "./bin/tool", "{clone}/bin/tool", "tool"])
@pytest.mark.parametrize("path", ["bin:{usual}", ".:{usual}", "{clone}/bin:{usual}", "{usual}"])
def test_doctor_and_a_dry_run_start_no_program_of_the_project(runbook: Any, clone: Path, argv: str, path: str) -> None:
    declare(clone, argv.format(clone=clone))
    runbook.env["PATH"] = path.format(clone=clone, usual=os.environ["PATH"])
    runbook("doctor", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    ran = runbook("run", "--dry-run", ".", "--sandbox", "host", "--trust")
    assert ran.code == 3, ran.err
    assert not (clone / "ran").exists()


def test_a_program_named_by_its_path_is_refused_without_an_image(runbook: Any, clone: Path) -> None:
    declare(clone, f"{clone}/bin/tool")
    ran = runbook("run", ".", "--sandbox", "host", "--trust")
    assert ran.code == 3
    assert "by a path" in ran.err
    assert "--sandbox docker" in ran.err
    assert not (clone / "ran").exists()


def test_a_version_is_no_way_to_a_program_of_the_project(runbook: Any, clone: Path) -> None:
    (runbook.data / "agents" / "nice-1").mkdir(parents=True)
    (clone / ".installed").touch()
    declare(clone, "tool", f'version = "1/../../../{os.path.relpath(clone, runbook.data)}"\n')
    ran = runbook("run", "--dry-run", ".", "--sandbox", "host", "--trust")
    assert ran.code == 2
    assert "version" in ran.err


def test_a_program_of_the_users_tells_its_version_without_keys_and_elsewhere(runbook: Any, clone: Path) -> None:
    users = clone.parent / "users-bin" / "claude"
    users.parent.mkdir()
    users.write_text(f"#!/bin/sh\n{{ env; pwd; }} > {clone.parent}/seen; echo 9.8.7\n")
    users.chmod(0o755)
    runbook.env["PATH"] = f"{users.parent}:{os.environ['PATH']}"
    assert "9.8.7" in runbook("doctor", env={"DOCKER_HOST": "unix:///nowhere.sock"}).out
    seen = (clone.parent / "seen").read_text()
    assert "CANARY" not in seen
    assert seen.splitlines()[-1] == "/"


def test_doctor_is_not_stopped_by_a_dockerfile_of_endless_size(runbook: Any, clone: Path) -> None:
    (clone / ".runbook" / "snapshots" / "z").mkdir(parents=True)
    (clone / ".runbook" / "snapshots" / "z" / "Dockerfile").symlink_to("/dev/zero")
    assert runbook("doctor", timeout=120).code in (0, 3)


@pytest.mark.needs("docker")
@pytest.mark.parametrize("path", [".", "{clone}"])
def test_no_helper_of_the_project_gives_docker_its_passwords(
    runbook: Any, clone: Path, shell_runbook: Any, path: str
) -> None:
    settings = clone.parent / "docker-settings"
    settings.mkdir()
    (settings / "config.json").write_text('{"credsStore": "tool"}')
    (clone / "bin" / "tool").rename(clone / "docker-credential-tool")
    runbook.env |= {"DOCKER_CONFIG": str(settings), "PATH": f"{path.format(clone=clone)}:{os.environ['PATH']}"}
    ran = runbook("run", shell_runbook("true"), "--sandbox", "docker", "--image", "nowhere.invalid/x:1")
    assert "Pulling nowhere.invalid/x:1" in ran.out
    assert not (clone / "ran").exists()


def test_further_processes_of_a_check_import_nothing_of_the_project(runbook: Any, clone: Path) -> None:
    for number in range(60):
        (clone / f"{number}.runbook.md").write_text("# x\n")
    (clone / "multiprocessing.py").write_text(f"open({str(clone / 'ran')!r}, 'w')\nraise SystemExit\n")
    on_macos = clone.parent / "on_macos.py"
    on_macos.write_text(MACOS)
    done = subprocess.run([sys.executable, on_macos, "check", "."], cwd=clone, capture_output=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert not (clone / "ran").exists()
