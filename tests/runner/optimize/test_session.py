"""`runbook optimize --agent`: an agent in a sandbox reads a run and edits the runbook."""

import json
from pathlib import Path
from typing import Any

import pytest

RUNBOOK = """\
---
version: "1.2.3"
agent: shell
---
# Numbers — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/a.txt` | x |

## Step 1: Work

```bash
echo made > /app/results/a.txt
```
"""
FOUND = {
    "type": "optimize_analysis",
    "trajectory_id": "x",
    "patterns": ["it is slow"],
    "proposed_changes": [{"section": "Tips", "before": "", "after": "Be quick.", "citations": ["run"]}],
}
EDITS = """
cat > prompt.txt
[ "$JETTY_OPTIMIZE" = 1 ] || exit 9
grep -q 'Improve the runbook' prompt.txt || exit 8
cmp RUNBOOK.md baseline-RUNBOOK.md || exit 7
cmp trajectory.json trajectory/trajectory.json || exit 6
grep -q made trajectory/a.txt || exit 5
ls trajectory
sed -i 's/1.2.3/1.2.4/' RUNBOOK.md
"""


@pytest.fixture
def optimized(runbook: Any) -> Any:
    def run(does: str, *options: str, sandbox: str = "host") -> Any:
        agents = runbook.cwd / ".runbook/agents"
        agents.mkdir(parents=True)
        argv = json.dumps(["bash", "-c", does])
        (agents / "editor.toml").write_text(f'argv = {argv}\nprompt = "stdin"\n')
        (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
        ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--json")
        options = ("--agent", "editor", "--sandbox", sandbox, "--trust", *options)
        return ran.json["trajectory_id"], runbook("optimize", "RUNBOOK.md", *options)

    return run


def test_the_agent_finds_the_files_and_its_edits_are_written(runbook: Any, optimized: Any, backend: str) -> None:
    does = f"{EDITS}\necho; echo '{json.dumps(FOUND)}'"
    baseline, done = optimized(does, "--apply", "--json", sandbox=backend)
    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    assert {key: done.json[key] for key in FOUND} == FOUND
    assert (runbook.cwd / "RUNBOOK.md").read_text() == RUNBOOK.replace("1.2.3", "1.2.4")
    session = Path(done.json["session"]["path"])
    assert session.parent.name == "optimize"
    assert f"{baseline}.json" in (session / "events.jsonl").read_text()


def test_without_apply_the_edits_are_shown(runbook: Any, optimized: Any) -> None:
    _, done = optimized(EDITS)
    assert done.code == 0, done.err
    assert '+version: "1.2.4"' in done.out
    assert (runbook.cwd / "RUNBOOK.md").read_text() == RUNBOOK


def test_a_copy_in_the_results_does_not_count(runbook: Any, optimized: Any) -> None:
    _, done = optimized(f"cp RUNBOOK.md results/RUNBOOK.md\n{EDITS}", "--apply", "--json")
    assert (runbook.cwd / "RUNBOOK.md").read_text() == RUNBOOK.replace("1.2.3", "1.2.4"), done.err
    collected = Path(done.json["session"]["path"]) / "results/RUNBOOK.md"
    assert "1.2.4" in collected.read_text()


@pytest.mark.parametrize("does", ["rm RUNBOOK.md", "rm RUNBOOK.md; ln -s /etc/passwd RUNBOOK.md"])
def test_a_runbook_that_is_gone_is_not_changed(runbook: Any, optimized: Any, does: str) -> None:
    _, done = optimized(f"cat > prompt.txt; {does}", "--apply", "--json")
    assert (done.code, done.json["proposed_changes"]) == (0, [])
    assert (runbook.cwd / "RUNBOOK.md").read_text() == RUNBOOK


def test_what_its_user_has_saved_meanwhile_stays(runbook: Any, optimized: Any) -> None:
    file = runbook.cwd / "RUNBOOK.md"
    _, done = optimized(f"{EDITS}\necho '# Mine' >> {file}", "--apply")
    assert done.code == 2
    assert "RUNBOOK.md: It was changed meanwhile." in " ".join(done.err.split())
    assert '+version: "1.2.4"' in done.out
    assert file.read_text() == f"{RUNBOOK}# Mine\n"


def test_an_agent_that_says_nothing_is_named(optimized: Any) -> None:
    _, done = optimized(EDITS, "--json")
    assert done.json["patterns"] == ["precheck failed: the agent has written no line of JSON with its analysis"]


def test_a_runbook_that_the_agent_has_broken_is_not_written(runbook: Any, optimized: Any) -> None:
    _, done = optimized("cat > prompt.txt; echo broken > RUNBOOK.md", "--apply")
    assert done.code == 2
    assert "The agent has broken the runbook" in done.err
    assert (runbook.cwd / "RUNBOOK.md").read_text() == RUNBOOK


def test_without_a_run_that_is_of_use_no_agent_is_started(runbook: Any, optimized: Any) -> None:
    optimized(EDITS)
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.replace("echo made", "exit 3; echo"))
    for _ in range(2):
        failed = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--json", "--task", "bad").json["trajectory_id"]
    done = runbook("optimize", "RUNBOOK.md", "--agent", "editor", "--task", "bad", "--json", "--apply")
    assert (done.code, done.json["proposed_changes"]) == (0, [])
    assert done.json["patterns"][0].startswith("baseline trajectory produced no usable evidence: ")
    assert failed in done.json["patterns"][0]
    assert len([*(runbook.cwd / ".runbook/trajectories/local/optimize").iterdir()]) == 1  # that of before
    assert "exit 3" in (runbook.cwd / "RUNBOOK.md").read_text()


@pytest.mark.parametrize(("levels", "message"), [(199, "There is a link in this recording."), (200, "in each other")])
def test_a_link_below_many_folders_is_not_followed(
    runbook: Any, optimized: Any, nested: Any, tmp_path: Path, levels: int, message: str
) -> None:
    baseline, _ = optimized(EDITS)
    recorded = runbook.cwd / f".runbook/trajectories/local/numbers/{baseline}"
    (tmp_path / "key").write_text("private")
    link = nested(recorded / "results", levels) / "key"
    link.symlink_to(tmp_path / "key")
    log = (recorded / "events.jsonl").read_text()
    (recorded / "events.jsonl").write_text(log.replace("results/a.txt", str(link.relative_to(recorded))))
    assert runbook("import", recorded).code == 0  # it is ours, though it was written over
    done = runbook("optimize", "RUNBOOK.md", "--agent", "editor", "--sandbox", "host", "--trust", "--json")
    assert (done.code, message in done.json["patterns"][0]) == (2, True)


def test_a_link_in_the_recording_is_refused(runbook: Any, optimized: Any) -> None:
    baseline, _ = optimized(EDITS)
    file = runbook.cwd / f".runbook/trajectories/local/numbers/{baseline}/results/a.txt"
    file.unlink()
    file.symlink_to("/etc/passwd")
    done = runbook("optimize", "RUNBOOK.md", "--agent", "editor", "--sandbox", "host", "--trust", "--json")
    assert done.code == 2
    assert "There is a link in this recording." in done.json["patterns"][0]
