"""What is collected: all that the agent made, within limits that name what they leave out; what is required first."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.sandbox.images.recipe import DEFAULT_BASE, LOCAL_BASE

RUNBOOK = """\
---
agent: AGENT
---
# Results — Agent Runbook

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/z/report.md` | The report |

## Step 1: Work

```bash
cd /app/results && mkdir z && echo 1 > z/report.md
CODE
```
"""


@pytest.fixture
def run(runbook: Any) -> Callable[..., Any]:
    def run(code: str, *arguments: str, agent: str = "shell", sandbox: str = "host") -> Any:
        (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.replace("CODE", code).replace("AGENT", agent))
        return runbook("run", "RUNBOOK.md", "--trust", "--sandbox", sandbox, "--json", *arguments)

    return run


@pytest.mark.parametrize(
    ("code", "limit", "left_out"),
    [
        ("truncate -s 2M a.bin", "--results-size=1M", "a.bin: with it they would have more than 1,048,576 bytes."),
        (
            "mkdir a; touch a/$(seq -s ' a/' 30)",
            "--results-files=20",
            "a/27: more than 20 entries; what comes after it",
        ),
    ],
    ids=["bytes", "entries"],
)
def test_a_limit_names_what_it_leaves_out_and_what_is_required_is_there(
    run: Callable[..., Any], code: str, limit: str, left_out: str
) -> None:
    ran = run(code, limit)
    assert (ran.code, json.loads(ran.out)["verdict"]) == (0, "pass")
    assert (ran.folder / "results" / "z" / "report.md").read_text() == "1\n"
    (note,) = json.loads(ran.out)["notes"]
    assert note.startswith(f"Not collected: results/{left_out}")
    assert [event["path"] for event in ran.events("artifact.collected")][-1] == "results/z/report.md"
    higher = run(code, limit.replace("=1M", "=4M").replace("=20", "=40"))
    assert json.loads(higher.out)["notes"] == []


def test_what_a_limit_left_out_and_is_collected_because_it_is_required_is_not_told_as_left_out(
    run: Callable[..., Any],
) -> None:
    ran = run("true", "--results-files=1")
    assert (ran.code, [Path(path).name for path in ran.json["results_files"]]) == (0, ["report.md"])
    assert not [note for note in ran.json["notes"] if "report.md" in note]


def test_results_stay_executable_and_empty_folders_stay(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("mkdir -p empty/inner; touch run.sh; chmod 755 run.sh", "--out", str(tmp_path / "out"))
    for results in (ran.folder / "results", tmp_path / "out"):
        assert (results / "empty" / "inner").is_dir()
        assert (results / "run.sh").stat().st_mode & 0o100
        assert not (results / "z" / "report.md").stat().st_mode & 0o100


HALF = """\
argv = ["sh", "-c", '''
cat >/dev/null; cd $RESULTS_DIR; [ -e z ] && exec touch new
mkdir z && echo half > z/report.md && echo "rate limit" >&2 && exit 1''']
dialect = "openai-chat"
default_model = "m"
"""


def test_what_a_start_that_failed_has_left_is_not_a_result_of_the_next(run: Callable[..., Any], runbook: Any) -> None:
    declare(runbook, HALF)
    (runbook.cwd / "model.yaml").write_text("[{say: Done.}]")
    ran = run("", "--model-script", "model.yaml", agent="mine")
    assert len(ran.events("agent.retried")) == 1
    assert (ran.code, json.loads(ran.out)["missing_outputs"]) == (1, ["z/report.md"])
    assert [path.name for path in (ran.folder / "results").rglob("*") if path.is_file()] == ["new"]
    notes = json.loads(ran.out)["notes"]
    assert "Not collected: results/z/report.md: it was there before the agent started, and has not changed." in notes


@pytest.mark.needs("docker")
def test_files_of_an_image_are_not_results_until_the_agent_changes_them(run: Callable[..., Any], runbook: Any) -> None:
    there = subprocess.run(["docker", "image", "inspect", LOCAL_BASE], capture_output=True)
    base = DEFAULT_BASE if there.returncode else LOCAL_BASE
    file = f"FROM {base}\nRUN mkdir -p /app/results/z && cd /app/results/z && touch a report.md\n"
    tag = f"runbook-test/results-{os.getpid()}"
    subprocess.run(["docker", "build", "-q", "-t", tag, "-"], input=file, text=True, check=True, capture_output=True)
    declare(runbook, 'argv = ["sh", "-c", "echo 1 > $RESULTS_DIR/z/report.md"]')
    ran = run("", "--image", tag, agent="mine", sandbox="docker")
    subprocess.run(["docker", "rmi", "-f", tag], check=True, capture_output=True)
    assert ran.code == 0
    assert [event["path"] for event in ran.events("artifact.collected")] == ["results/z/report.md"]
    (note,) = json.loads(ran.out)["notes"]
    assert note.startswith("Not collected: results/z/a: it was there before the agent started")


def declare(runbook: Any, text: str) -> None:
    agents = runbook.cwd / ".runbook" / "agents"
    agents.mkdir(parents=True)
    (agents / "mine.toml").write_text(text)
