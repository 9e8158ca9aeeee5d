"""`action.yml`: its steps, run by bash in a git repository as GitHub runs them."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

ACTION = yaml.safe_load((Path(__file__).parents[3] / "action.yml").read_text())
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
    runs = {"RUN", "EVAL", "AGENT", "MODEL", "GATES", "MAX_COST", "TRUST", "ARGS", "COMMENT", "GITHUB_TOKEN"}
    assert used == {"PACKAGE", "PATHS", "PROFILE", "BASE"} | runs
    assert all("${{" not in step["run"] for step in ACTION["runs"]["steps"] if "run" in step)


def test_changed_runbooks_are_checked_and_annotated(repo):
    base = commit(repo, old=BROKEN)
    commit(repo, deep__new=BROKEN)
    done = check(repo, base=base)
    assert done.returncode == 1
    assert "::error file=deep/new/RUNBOOK.md,line=" in done.stdout
    assert "old/RUNBOOK.md" not in done.stdout


def test_warnings_are_annotations_and_keep_no_run_from_being_made(repo):
    commit(repo, a=RUN.format(code="true"))
    done = check(repo)
    assert (done.returncode, done.stderr) == (0, "")
    assert "::warning file=a/RUNBOOK.md,line=" in done.stdout
    assert "::error" not in done.stdout
    assert check(repo, profile="none").returncode == 2


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


def test_runbooks_of_another_name_count_and_recorded_ones_do_not(repo):
    folder, _git = repo
    base = commit(repo, a=GOOD)
    (folder / "a" / "b c.runbook.md").write_text(BROKEN)
    commit(repo, a__recording=BROKEN)
    for done in (check(repo, base=base), check(repo)):
        assert done.returncode == 1
        assert "::error file=a/b c.runbook.md,line=" in done.stdout
        assert "recording" not in done.stdout


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


# --- the whole action, installation included -------------------------------------------------------------------------

REPOSITORY = Path(__file__).parents[3]


def valued(text, context):
    """`${{ a || b }}` as GitHub fills it in: the first that is not empty."""

    def value(match):
        names = [name.strip() for name in match[1].split("||")]
        return next((context[name] for name in names if context[name]), "")

    return re.sub(r"\$\{\{(.+?)\}\}", value, text)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """A Python of its own, as `actions/setup-python` puts it first on PATH. The packages it has already are ours, so
    that only this one is installed."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text("".join(path + "\n" for path in sys.path if path.endswith("-packages")))
    return folder / "bin"


def test_action_installs_itself_and_annotates_what_the_pull_request_changed(repo, runner):
    base = commit(repo, old=BROKEN)
    commit(repo, new=BROKEN)
    context = {f"inputs.{name}": given["default"] for name, given in ACTION["inputs"].items()}
    context |= {"github.action_path": str(REPOSITORY), "github.event.pull_request.base.sha": base}
    steps = ACTION["runs"]["steps"]
    assert steps[0]["uses"].startswith("actions/setup-python@")
    assert valued(steps[0]["with"]["python-version"], context) == "3.12"
    for step in (one for one in steps[1:] if one["name"] != "Run"):
        environ = {name: valued(text, context) for name, text in step["env"].items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=repo[0],
            env={**os.environ, **environ, "PATH": f"{runner}:/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        if step["name"] == "Install":
            assert done.returncode == 0, done.stderr
            assert (runner / "runbook").exists()
    assert done.returncode == 1
    (annotation,) = done.stdout.splitlines()
    assert annotation.startswith("::error file=new/RUNBOOK.md,line=2,")
    assert "title=RB101" in annotation


def run(repo, **given):
    """given: the inputs of the step, as their variables."""
    inputs = dict.fromkeys(step("Run")["env"], "") | given
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **inputs}
    environ |= {"RUNBOOK_DATA": str(repo[0] / "data"), "GITHUB_STEP_SUMMARY": str(repo[0] / "summary.md")}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step("Run")["run"]]
    return subprocess.run(command, cwd=repo[0], env=environ, capture_output=True, text=True)


RUN = """\
---
version: "1.0.0"
agent: shell
---
# T — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | x |

## Step 1: Work

```bash
{code}
```
"""


def test_a_runbook_is_run_and_its_verdict_is_the_steps(repo):
    commit(repo, a=RUN.format(code="true"))
    done = run(repo, RUN="a", ARGS="--sandbox\nhost\n")
    assert done.returncode == 1, done.stderr
    assert "::error file=a/RUNBOOK.md,title=required-output::out.txt: out.txt is missing.\n" in done.stdout
    assert "❌ ` t `: FAIL" in (repo[0] / "summary.md").read_text()
    assert run(repo, RUN="a", GATES="no-error\nseconds<600\n", ARGS="--sandbox\nhost").returncode == 0


def test_a_suite_is_evaluated(repo):
    commit(repo, a=RUN.format(code="echo 1 > /app/results/out.txt"))
    (repo[0] / "suite.yaml").write_text("runbooks: [a]\nrepeats: 2\n")
    done = run(repo, EVAL="suite.yaml", ARGS="--sandbox\nhost\n")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs passed" in (repo[0] / "summary.md").read_text()


def test_arguments_of_one_command_are_not_given_to_both(repo):
    commit(repo, a=RUN.format(code="echo 1 > /app/results/out.txt"))
    done = run(repo, RUN="a", EVAL="a", ARGS="--sandbox\nhost\n")
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=args::They are of one command")


def test_inputs_are_arguments_and_no_shell(repo):
    commit(repo, a=RUN.format(code="echo 1 > /app/results/out.txt"))
    done = run(repo, RUN="$(touch made)", AGENT="; touch made", GATES="`touch made`")
    assert done.returncode == 2
    assert not (repo[0] / "made").exists()
