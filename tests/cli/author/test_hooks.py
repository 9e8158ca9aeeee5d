"""The pre-commit hooks, with the real pre-commit in a git repository of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[3]
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml", "runbook_runner", "snapshots")
GOOD = "---\nversion: 1.0.0\nagent: shell\n---\n# T\n\n| a   | b   |\n|-----|-----|\n| cc  | d   |\n"
CROOKED = GOOD.replace("| a   | b   |", "| a | b |")

pytestmark = [
    pytest.mark.skipif(not (BIN / "pre-commit").exists(), reason="pre-commit is not installed (extra: test)"),
    pytest.mark.xdist_group("pre-commit"),
]


def git(folder, *args):
    environ = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a", "EMAIL": "a@example.org"}
    done = subprocess.run(["git", *args], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder):
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """This repository as pre-commit clones it, whatever is committed of it now."""
    folder = repository(tmp_path_factory.mktemp("hooks"))
    for name in SHIPPED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all tests: pre-commit installs the package once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(tmp_path, hooks):
    folder = repository(tmp_path)
    entries = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text())
    repo = {"repo": str(hooks), "rev": git(hooks, "rev-parse", "HEAD"), "hooks": [{"id": e["id"]} for e in entries]}
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [repo]}))
    return folder


def run(project, cache, hook):
    git(project, "add", "--all")
    return subprocess.run(
        ["pre-commit", "run", hook, "--all-files", "--verbose"],
        cwd=project,
        env={**os.environ, "PRE_COMMIT_HOME": str(cache), "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_fmt_fixes_a_crooked_file_and_stops_the_commit(project, cache):
    (project / "RUNBOOK.md").write_text(CROOKED)
    (project / "NOTES.md").write_text(CROOKED)
    (project / "a b").mkdir()
    (project / "a b" / "weekly.runbook.md").write_text(CROOKED)
    (project / "recording").mkdir()
    (project / "recording" / "RUNBOOK.md").write_text(CROOKED)
    first = run(project, cache, "runbook-fmt")
    assert first.returncode == 1, first.stdout + first.stderr
    assert "files were modified by this hook" in first.stdout
    assert (project / "RUNBOOK.md").read_text() == GOOD
    assert (project / "a b" / "weekly.runbook.md").read_text() == GOOD
    assert (project / "NOTES.md").read_text() == CROOKED
    assert (project / "recording" / "RUNBOOK.md").read_text() == CROOKED, "what a run was given stays as it was"
    assert run(project, cache, "runbook-fmt").returncode == 0


def test_check_stops_a_broken_file_and_names_its_line(project, cache):
    (project / "deep").mkdir()
    (project / "deep" / "RUNBOOK.md").write_text("---\nversion: [\n---\n# T\n")
    broken = run(project, cache, "runbook-check")
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "deep/RUNBOOK.md:" in broken.stdout


def test_repository_without_runbooks_is_left_alone(project, cache):
    (project / "NOTES.md").write_text(CROOKED)
    skipped = run(project, cache, "runbook-check")
    assert skipped.returncode == 0
    assert "no files to check" in skipped.stdout


WORK = """\
---
version: 1.0.0
agent: shell
---
# Greeting — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/greeting.txt` | What was said |

## Step 1: Greet

```bash
echo hello > /app/results/greeting.txt
```
"""


@pytest.fixture
def recorded(project, tmp_path_factory):
    """A runbook with its recording beside it, as the hook's description says."""
    (project / "hello").mkdir()
    (project / "hello" / "RUNBOOK.md").write_text(WORK)
    home = tmp_path_factory.mktemp("runs")
    subprocess.run(
        [BIN / "runbook", "run", "hello", "--sandbox", "host"],
        cwd=project,
        env={**os.environ, "RUNBOOK_HOME": str(home)},
        capture_output=True,
        check=True,
    )
    (trajectory,) = home.glob("trajectories/*/*/*/trajectory.json")
    shutil.copytree(trajectory.parent, project / "hello" / "recording")
    return project


def test_replay_lets_a_runbook_pass_that_still_does_what_was_recorded(recorded, cache):
    same = run(recorded, cache, "runbook-replay")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "hello" in same.stdout


def test_replay_stops_a_commit_that_changes_what_comes_out(recorded, cache):
    document = recorded / "hello" / "RUNBOOK.md"
    document.write_text(WORK.replace("echo hello", "echo goodbye"))
    (recorded / "RUNBOOK.md").write_text(WORK)  # without a recording: nothing to replay, no failure
    changed = run(recorded, cache, "runbook-replay")
    assert changed.returncode == 1, changed.stdout + changed.stderr
    assert "greeting.txt" in changed.stdout
    git(recorded, "config", "user.email", "a@example.org")
    git(recorded, "config", "user.name", "a")
    environ = {**os.environ, "PRE_COMMIT_HOME": str(cache), "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run(["pre-commit", "install"], cwd=recorded, env=environ, capture_output=True, check=True)
    refused = subprocess.run(
        ["git", "commit", "--message", "x"], cwd=recorded, env=environ, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "greeting.txt" in refused.stdout + refused.stderr


def test_a_file_whose_name_is_an_option_is_given_to_no_hook(recorded, cache, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    odd = recorded / f"--out={away}" / "RUNBOOK.md"
    odd.parent.mkdir(parents=True)
    odd.write_text(WORK)
    (recorded / "--profile=v2.runbook.md").write_text(CROOKED)
    ran = [run(recorded, cache, hook) for hook in ("runbook-check", "runbook-replay", "runbook-fmt")]
    assert [one.returncode for one in ran[:2]] == [0, 0], ran[0].stdout + ran[1].stdout
    assert "1 of 1 file formatted" in ran[2].stdout
    assert not list(away.iterdir())
