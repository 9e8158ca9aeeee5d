"""With which results of an evaluation that was ended early the next one goes on: with those of the same runs only."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.settings import Settings
from runbook_runner.runner.request.request import RunOptions, RunRequest
from runbook_runner.runner.suite.content import plan_digest
from runbook_runner.runner.suite.evaluate import prepare_all
from runbook_runner.runner.suite.plan import plan_of
from runbook_runner.runner.suite.suite_file import load_suite

RUNBOOK = """\
---
version: "1.0.0"
secrets:
  WORD: {required: false}
  OTHER: {required: false}
code_checks:
  sources:
    - {name: golden, url: checks.git}
snapshot: mine
runbook_runner: {inputs: [data.csv]}
---
# Words — Agent Runbook

## Step 1: Work

```bash
sleep 1; cp /app/assets/data.csv /app/results/out.txt
```
"""
AGENT = 'argv = ["true"]\nprompt = "stdin"\ndialect = "openai-chat"\ndefault_model = "m"\n'
FILES = {
    "RUNBOOK.md": RUNBOOK,
    "data.csv": "one\n",
    ".env": "WORD=oneword\n",
    "mine.env": "OTHER=otherword\nOPENAI_BASE_URL=https://one.example\n",
    "examples/a/input.json": json.dumps({"files": [{"path": "more.csv"}]}),
    "examples/b/input.json": "{}",
    "examples/a/more.csv": "one\n",
    "examples/a/expected/out.txt": "one\n",
    ".runbook/agents/mine.toml": AGENT,
    ".runbook/snapshots/mine/Dockerfile": "FROM one\n",
    ".runbook/snapshots/mine/tool.sh": "echo one\n",
    "m.yaml": "- say: one\n",
    "judge.yaml": "- say: one\n",
    "suite.yaml": "runbooks: [.]\nagents: [{agent: mine, model_script: m.yaml}]\n",
}


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Of the evaluation of a project with one of each: by it an evaluation finds what is done."""
    project = tmp_path / "project"
    for name, content in FILES.items():
        write(project / name, content)
    subprocess.run(["git", "init", "--quiet", "--bare", project / "checks.git"], check=True)
    monkeypatch.chdir(project)
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))

    def find(sandbox: str = "host") -> str:
        options = RunOptions(sandbox=sandbox, env_file=Path("mine.env"), trust=True)
        base = RunRequest("", (project,), judge_script=Path("judge.yaml"), options=options)
        plan = plan_of(load_suite(Path("suite.yaml")), base)
        return plan_digest(plan, Settings.load().home, prepare_all(plan))

    return find


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


@pytest.mark.parametrize(
    "name",
    [name for name in FILES if "snapshots" not in name and not name.startswith("examples/b/")]
    + ["checks.git/refs/heads/x"],
)
def test_another_content_is_another_evaluation(digest: Callable[..., str], name: str) -> None:
    before, file = digest(), Path(name)
    old = file.read_text() if file.exists() else None
    changed = {
        "RUNBOOK.md": RUNBOOK.replace("sleep 1", "sleep 2"),
        "suite.yaml": FILES["suite.yaml"] + "gates: [verdict]\n",
        "examples/a/input.json": "{}",
        ".runbook/agents/mine.toml": AGENT.replace("true", "false"),
    }
    write(file, changed.get(name, (old or "one").replace("one", "two")))
    assert digest() != before
    if old is None:
        file.unlink()
    else:
        file.write_text(old)
    assert digest() == before


def test_what_no_run_is_made_from_begins_nothing_anew(digest: Callable[..., str]) -> None:
    before = digest()
    write(Path("notes.md"), "x")
    write(Path("examples/a/notes.md"), "x")
    write(Path(".runbook/trajectories/local/words/1/events.jsonl"), "x")
    shutil.copytree("checks.git", "examples/a/.git")
    assert digest() == before


@pytest.mark.needs("docker")
@pytest.mark.parametrize("name", [name for name in FILES if "snapshots" in name])
def test_another_snapshot_is_another_evaluation_where_it_is_used(digest: Callable[..., str], name: str) -> None:
    before, unused = digest("docker"), digest()
    Path(name).write_text(FILES[name].replace("one", "two"))
    assert digest("docker") != before
    assert digest() == unused


def evaluation(runbook: Any, code: str, suite: str) -> tuple[str, ...]:
    front = 'version: "1.0.0"\nagent: shell\nrunbook_runner: {inputs: [data.csv]}'
    text = f"---\n{front}\n---\n# Words — Agent Runbook\n\n## Step 1: Work\n\n```bash\n{code}\n```\n"
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    (runbook.cwd / "data.csv").write_text("one\n")
    (runbook.cwd / "suite.yaml").write_text(f"runbooks: [.]\nconcurrency: 1\n{suite}")
    return ("eval", "suite.yaml", "--sandbox", "host", "--json")


@pytest.mark.parametrize("changed", [False, True])
def test_it_goes_on_beside_its_own_records_and_not_with_other_sample_inputs(
    runbook: Any, eventually: Any, *, changed: bool
) -> None:
    """The case is a file in the folder where the runs are recorded."""
    seen = runbook.cwd.with_name(f"{runbook.cwd.name}-seen")
    code = f"[ ! -e {seen} ] || sleep 60; touch {seen}; cat /app/assets/data.csv > /app/results/out.txt"
    args = evaluation(runbook, code, "repeats: 2\ncases: a.json\n")
    (runbook.cwd / "a.json").write_text("{}")
    process = runbook.start(*args)
    eventually(lambda: any("row" in file.read_text() for file in runbook.data.glob("evals/*.jsonl")))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    seen.unlink()
    if changed:
        (runbook.cwd / "data.csv").write_text("two\n")
    ran = runbook(*args, "--repeats", "1")
    assert (ran.code, ran.json["resumed"]) == (0, 0 if changed else 1), ran.err


def test_what_changes_while_it_is_evaluated_ends_it(runbook: Any) -> None:
    args = evaluation(runbook, f"echo x > /app/results/out.txt; echo two > {runbook.cwd}/data.csv", "repeats: 3\n")
    ran = runbook(*args)
    assert ran.code == 2
    assert "What its runs are made from was changed while they were evaluated." in ran.err
    assert len(list(runbook.cwd.rglob("events.jsonl"))) == 1
