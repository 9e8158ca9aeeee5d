"""A document that lies in the home, or where all users of a machine put their files, names nothing beside it: what is
there did not come with it."""

import json
import subprocess
from typing import Any

import pytest

RUNBOOK = """\
---
version: "1.0.0"
agent: shell
{front}
---
# Words — Agent Runbook

## Step 1: Work

```bash
echo "w=${{WORD:-}}" > /app/results/out.txt; cat /app/assets/* >> /app/results/out.txt || true
```
"""


@pytest.fixture(params=["home", "sticky", "shared"])
def place(request: pytest.FixtureRequest, runbook: Any) -> Any:
    """`runbook` in the home, in a folder such as /tmp, or in one where others may also replace what is there."""
    if request.param == "home":
        runbook.env["HOME"] = str(runbook.cwd)
    else:
        runbook.cwd.chmod(0o1777 if request.param == "sticky" else 0o777)
    (runbook.cwd / "docs").mkdir()
    (runbook.cwd / "docs/tax.json").write_text("{}")
    write(runbook)
    return runbook


def write(runbook: Any, front: str = "", folder: str = ".") -> None:
    (runbook.cwd / folder).mkdir(exist_ok=True)
    (runbook.cwd / folder / "RUNBOOK.md").write_text(RUNBOOK.format(front=front))


def refused(runbook: Any, *args: str) -> str:
    ran = runbook(*args, "--sandbox", "host")
    assert ran.code == 2, ran.err
    assert not list(runbook.cwd.rglob("events.jsonl"))
    return " ".join(ran.err.split())


@pytest.mark.parametrize("named", ["other", "RUNBOOK.md", "."])
def test_a_suite_runs_no_other_runbook_of_it(place: Any, named: str) -> None:
    write(place, folder="other")
    (place.cwd / "other/.env").write_text("WORD=secret\n")
    (place.cwd / "suite.yaml").write_text(f"runbooks: [{named}]\n")
    said = refused(place, "eval", "suite.yaml")
    assert "suite.yaml:1: A suite names files of its own project only." in said
    assert "is no project: move the suite, with its runbooks, into a folder of its own." in said


def test_its_files_are_no_cases_of_a_runbook(place: Any) -> None:
    said = refused(place, "eval", "RUNBOOK.md", "--cases", "docs/*.json")
    assert "This file may be your own, and not a case of the runbook." in said
    assert "move the runbook, with its cases, into a folder of its own." in said
    assert place("eval", "RUNBOOK.md", "--sandbox", "host").code == 0
    (place.cwd / "examples/a").mkdir(parents=True)
    (place.cwd / "examples/a/input.json").write_text("{}")
    ran = place("eval", "RUNBOOK.md", "--sandbox", "host")
    assert (ran.code, "is no project" in " ".join(ran.err.split())) == (2, True), ran.err
    assert place("eval", "RUNBOOK.md", "--sandbox", "host", "--input", "examples/a/input.json").code == 0


def test_its_files_are_no_sample_inputs(place: Any) -> None:
    write(place, "runbook_runner: {inputs: [docs/tax.json]}")
    said = refused(place, "run", ".")
    assert "RUNBOOK.md:4: The sample input 'docs/tax.json' is in" in said
    assert "which is no project." in said
    assert "Or move the runbook, with its inputs, into a folder of its own." in said
    assert place("run", ".", "--sandbox", "host", "-f", "docs/tax.json").code == 0


def test_its_files_are_no_files_of_a_saved_input(place: Any) -> None:
    (place.cwd / "input.json").write_text(json.dumps({"files": [{"path": "docs/tax.json"}]}))
    said = refused(place, "run", ".", "--input", "input.json")
    assert "input.json: The file docs/tax.json is in" in said
    assert "which is no project." in said


def test_its_repositories_are_no_check_sources(place: Any) -> None:
    write(place, "code_checks:\n  sources:\n    - {name: mine, url: docs}")
    assert "which is no project. Put runbook and repository into a folder of their own" in refused(place, "run", ".")


def test_its_env_file_is_the_users(place: Any) -> None:
    write(place, "secrets:\n  WORD: {required: false}")
    (place.cwd / ".env").write_text("WORD=privateword\n")
    ran = place("run", ".", "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert ".env is not read: it may be your own, and not the runbook's." in ran.err
    assert "w=\n" in (ran.folder / "results/out.txt").read_text()
    ran = place("run", ".", "--sandbox", "host", "--json", "--env-file", ".env")
    assert "w=***REDACTED:WORD***\n" in (ran.folder / "results/out.txt").read_text()


def test_in_a_folder_of_its_own_all_is_as_ever(place: Any) -> None:
    write(place, "secrets:\n  WORD: {}\nrunbook_runner: {inputs: [data.csv]}", folder="own")
    own = place.cwd / "own"
    (own / ".env").write_text("WORD=privateword\n")
    (own / "data.csv").write_text("a,b\n")
    (own / "examples/a").mkdir(parents=True)
    (own / "examples/a/input.json").write_text("{}")
    (own / "suite.yaml").write_text("runbooks: [.]\n")
    ran = place("eval", "own/suite.yaml", "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert [cell["cell"] for cell in ran.json["cells"]] == ["own/a/default#1"]
    (results,) = place.cwd.rglob("results/out.txt")
    assert results.read_text() == "w=***REDACTED:WORD***\na,b\n"


def suite_of(runbook: Any) -> Any:
    write(runbook, folder="other")
    (runbook.cwd / "suite.yaml").write_text("runbooks: [other]\n")
    return runbook("eval", "suite.yaml", "--sandbox", "host")


def test_a_folder_of_a_group_is_a_project(runbook: Any) -> None:
    runbook.cwd.chmod(0o2775)
    assert suite_of(runbook).code == 0


def test_the_clone_of_gitlabs_runner_is_a_project(runbook: Any) -> None:
    """It is made without a umask."""
    runbook.cwd.chmod(0o777)
    assert suite_of(runbook).code == 2
    runbook.cwd.joinpath("deeper").mkdir()
    for clone, code in ((runbook.cwd, 0), (runbook.cwd.parent, 0), (runbook.cwd / "deeper", 2), (".", 2)):
        runbook.env["CI_PROJECT_DIR"] = str(clone)
        assert suite_of(runbook).code == code, clone


def test_what_all_may_write_to_is_no_project_whatever_lies_in_it(runbook: Any) -> None:
    """Others may link or move there what belongs to this user."""
    runbook.cwd.chmod(0o777)
    subprocess.run(["git", "init", "--quiet"], cwd=runbook.cwd, check=True)
    (runbook.cwd / ".git/HEAD").chmod(0o666)
    assert suite_of(runbook).code == 2


def test_a_user_without_a_home_has_projects(runbook: Any) -> None:
    write(runbook, "runbook_runner: {inputs: [data.csv]}")
    (runbook.cwd / "data.csv").write_text("a,b\n")
    ran = runbook("run", ".", "--sandbox", "host", env={"HOME": "~"})
    assert ran.code == 0, ran.err
