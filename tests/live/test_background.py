"""Agents that put something into the background: it is waited for, and told when it was not."""

import json
from typing import Any

import pytest

RUNBOOK = """\
---
version: "1.0.0"
evaluation: programmatic
---
# Slow — Agent Runbook

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Step 1: Work

Work.
"""
SLOW = "python3 -c 'import time; time.sleep(12)'; echo slow > /app/results/out.txt"


@pytest.fixture
def run(runbook: Any) -> Any:
    """A run of this agent with these turns; the command is in `runbook`."""
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)

    def start(agent: str, turns: list[dict[str, Any]], *options: str, **more: Any) -> Any:
        (runbook.cwd / "model.yaml").write_text(json.dumps(turns))
        args = ("--agent", agent, "--model-script", "model.yaml", "--json", *options)
        return runbook("run", runbook.cwd / "RUNBOOK.md", *args, **more)

    return start


@pytest.mark.needs("docker")
def test_claude_code_goes_on_when_its_background_task_has_ended(run: Any) -> None:
    """Between the two answers its final record is older than the grace of a CLI."""
    task = {"name": "Bash", "input": {"command": SLOW, "run_in_background": True}}
    turns = [{"tool": task}, {"say": "Waiting."}, {"shell": "cat /app/results/out.txt"}, {"say": "Done."}]
    ran = run("claude-code", turns)
    assert ran.code == 0, ran.err
    assert ran.events("tool.returned")[-1]["output"] == "slow"
    assert ran.trajectory["steps"]["run"]["outputs"]["text"] == "Done."


@pytest.mark.needs("docker")
def test_a_script_and_a_replay_wait_for_a_slow_command_of_codex(run: Any, runbook: Any) -> None:
    """Codex tells its model after ten seconds that the command is still running, and as what: a number it draws."""
    ran = run("codex", [{"shell": SLOW}, {"shell": "cat /app/results/out.txt"}, {"say": "Done."}])
    assert ran.code == 0, ran.err
    assert [event["output"] for event in ran.events("tool.returned")] == ["", "slow\n"]
    again = runbook("replay", ran.folder, "--json")
    assert again.code == 0, again.err
    assert again.json["results"]["identical"]


# --- what does not end ---------------------------------------------------------------------------------------------

CLAUDE = """\
#!/bin/sh
[ "$1" = --version ] && echo "2.1.330 (Claude Code)" && exit
echo here > "$PWD/results/out.txt"
echo '{"type": "system", "subtype": "init"}'
echo '{"type": "system", "subtype": "background_tasks_changed", "tasks": [{"task_id": "b1"}]}'
echo '{"type": "result", "subtype": "success", "result": "Serving."}'
exec sleep 1000
"""


@pytest.mark.parametrize("limit", [("--idle", "5"), ("--timeout", "8")], ids=["idle", "deadline"])
def test_what_never_ends_does_not_make_a_failure_of_a_run_that_was_done(
    run: Any, runbook: Any, limit: tuple[str, str]
) -> None:
    """A server that the agent left running, say."""
    (runbook.programs / "claude").write_text(CLAUDE)
    (runbook.programs / "claude").chmod(0o755)
    runbook.env["PATH"] = f"{runbook.programs}:{runbook.env['PATH']}"
    ran = run("claude-code", [{"say": "never asked"}], "--sandbox", "host", *limit)
    assert (ran.code, ran.json["status"]) == (0, "completed"), ran.err
    assert ran.events("agent.finished")[0]["text"] == "Serving."
    (told,) = [event for event in ran.events("log") if event["level"] == "warning" and "background" in event["message"]]
    assert told["message"].startswith("claude-code had finished; it was ended")


CLAUDE_THAT_SAYS_SO = """\
#!/bin/sh
[ "$1" = --version ] && echo "2.1.330 (Claude Code)" && exit
trap 'echo "{\\"type\\": \\"result\\", \\"subtype\\": \\"success\\", \\"result\\": \\"Ended.\\"}"; exit' TERM
echo '{"type": "system", "subtype": "init"}'
sleep 1000 & wait
"""


def test_a_final_record_that_only_the_deadline_brings_about_does_not_make_the_run_a_done_one(
    run: Any, runbook: Any
) -> None:
    (runbook.programs / "claude").write_text(CLAUDE_THAT_SAYS_SO)
    (runbook.programs / "claude").chmod(0o755)
    runbook.env["PATH"] = f"{runbook.programs}:{runbook.env['PATH']}"
    ran = run("claude-code", [{"say": "never asked"}], "--sandbox", "host", "--timeout", "4")
    (ended,) = ran.events("agent.finished")
    assert ended["text"] == "Ended.", "the record came, after the deadline"
    assert (ran.code, ended["error"]) == (4, "Agent exceeded timeout_sec (4).")
