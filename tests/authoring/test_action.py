"""`action.yml`: its shell step, run by bash in a git repository as GitHub runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ACTION = yaml.safe_load((Path(__file__).parents[2] / "action.yml").read_text())
GOOD = "---\nversion: 1.0.0\nagent: shell\n---\n# T\n"
BROKEN = "---\nversion: [\n---\n# T\n"


def step(name):
    return next(step for step in ACTION["runs"]["steps"] if step.get("name") == name)


@pytest.fixture
def repo(tmp_path):
    def git(*args):
        environ = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a", "EMAIL": "a@example.org"}
        done = subprocess.run(["git", *args], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    return tmp_path, git


def commit(repo, **files):
    folder, git = repo
    for name, text in files.items():
        path = folder / name.replace("__", "/") / "RUNBOOK.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git("add", "--all")
    git("commit", "--quiet", "--message", "x")
    return git("rev-parse", "HEAD")


def check(repo, paths="", base="", profile="auto"):
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PATHS": paths,
        "BASE": base,
        "PROFILE": profile,
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step("Check")["run"]]
    return subprocess.run(command, cwd=repo[0], env=environ, capture_output=True, text=True)


def test_action_is_well_formed():
    assert ACTION["runs"]["using"] == "composite"
    assert all("shell" in step for step in ACTION["runs"]["steps"] if "run" in step)
    used = {name for step in ACTION["runs"]["steps"] for name in step.get("env", {})}
    assert used == {"PACKAGE", "PATHS", "PROFILE", "BASE"}
    assert all("${{" not in step["run"] for step in ACTION["runs"]["steps"] if "run" in step)


def test_changed_runbooks_are_checked_and_annotated(repo):
    base = commit(repo, old=BROKEN)
    commit(repo, deep__new=BROKEN)
    done = check(repo, base=base)
    assert done.returncode == 1
    assert "::error file=deep/new/RUNBOOK.md,line=" in done.stdout
    assert "old/RUNBOOK.md" not in done.stdout


def test_without_a_base_all_are_checked(repo):
    commit(repo, a=BROKEN, b__c=BROKEN)
    done = check(repo)
    assert "a/RUNBOOK.md" in done.stdout
    assert "b/c/RUNBOOK.md" in done.stdout


def test_base_that_is_not_there_means_all(repo):
    commit(repo, a=BROKEN)
    done = check(repo, base="0" * 39 + "1")
    assert done.returncode == 1
    assert "a/RUNBOOK.md" in done.stdout


def test_given_paths_win_and_may_hold_blanks(repo):
    commit(repo, **{"a b": BROKEN, "c": BROKEN})
    done = check(repo, paths="\na b/RUNBOOK.md\n  \n")
    assert done.returncode == 1
    assert "a b/RUNBOOK.md" in done.stdout
    assert "c/RUNBOOK.md" not in done.stdout


def test_removed_runbook_is_no_error(repo):
    folder, git = repo
    base = commit(repo, a=GOOD)
    (folder / "a/RUNBOOK.md").unlink()
    git("commit", "--quiet", "--all", "--message", "gone")
    done = check(repo, base=base)
    assert (done.returncode, done.stdout) == (0, "No runbook to check.\n")
