"""What can go wrong between a real CLI and its model, each told by its kind, with what was tried against it."""

import json
from typing import Any

import pytest

RUNBOOK = """\
---
version: "1.0.0"
---
# Work — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | One line |

## Step 1: Work

Write the line.
"""
QUOTA = "You exceeded your current quota, please check your plan and billing details."
NO_MODEL = "The model `gpt-9` does not exist or you do not have access to it."
TOO_LONG = "The input token count (1200000) exceeds the maximum number allowed (1048576)."
WORK: list[dict[str, Any]] = [{"shell": "echo one > /app/results/out.txt"}, {"say": "Done."}]

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(600)]


def run(runbook: Any, agent: str, turns: list[dict[str, Any]], *more: str) -> Any:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    (runbook.cwd / "model.yaml").write_text(json.dumps(turns))
    return runbook("run", "RUNBOOK.md", "--agent", agent, "--model-script", "model.yaml", "--json", *more)


@pytest.mark.parametrize(("agent", "turn", "kind", "said"), [
    ("codex", {"error": 429, "message": QUOTA}, "usage_limit", QUOTA),
    ("gemini-cli", {"error": 400, "message": TOO_LONG}, "context_exceeded", TOO_LONG),
    ("opencode", {"error": 404, "message": NO_MODEL}, "model_not_found", NO_MODEL),
    ("codex", {"say": "I begin to", "error": "drop"}, "network", "answer broke off"),
    ("claude-code", {"say": "I would ra", "stop": "length"}, "output_limit", "output token maximum"),
    ("claude-code", {"say": "I would rather not.", "stop": "refusal"}, "refusal", "can't help with this"),
    ("gemini-cli", {"say": "I would rather not.", "stop": "refusal"}, "refusal", "The model refused to continue."),
    ("claude-code", {"shell": "kill -9 $PPID"}, "crashed", "ended with exit code 137"),
])  # fmt: skip
def test_a_failure_that_a_second_start_would_not_mend_is_told_at_once(
    runbook: Any, agent: str, turn: dict[str, Any], kind: str, said: str
) -> None:
    ran = run(runbook, agent, [turn] * 8)
    assert (ran.code, ran.json["status"]) == (4, "failed")
    (end,) = ran.events("agent.finished")
    assert end["error_kind"] == kind
    assert said in end["error"]
    assert ran.events("agent.retried") == []
    stops = {call["stop"] for call in ran.events("model.called")}
    assert stops == {turn.get("stop")}


def test_an_overloaded_provider_is_asked_again_later_and_the_run_passes(runbook: Any) -> None:
    """Codex itself asks five times."""
    ran = run(runbook, "codex", [*[{"error": 503}] * 5, *WORK])
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    (retried,) = ran.events("agent.retried")
    assert (retried["retry"], retried["error_kind"]) == (1, "overloaded")
    assert 5 <= retried["delay_s"] <= 15
    assert [call["status"] for call in ran.events("model.called")] == [503] * 5 + [200, 200]


def test_an_answer_that_breaks_off_is_the_reason_whatever_the_cli_makes_of_it(runbook: Any) -> None:
    ran = run(runbook, "gemini-cli", [{"say": "I begin to", "error": "drop"}] * 3)
    assert (ran.code, ran.json["status"]) == (4, "failed")
    (end,) = ran.events("agent.finished")
    assert (end["error_kind"], "answer broke off" in end["error"]) == ("network", True)
    assert len(ran.events("agent.retried")) == 2


def test_an_agent_that_gives_no_sign_of_life_has_stalled(runbook: Any) -> None:
    ran = run(runbook, "codex", [{"shell": "sleep 100"}, {"say": "Done."}], "--idle", "5")
    assert (ran.code, ran.json["status"]) == (4, "failed")
    (end,) = ran.events("agent.finished")
    assert (end["error_kind"], end["ended_by"]) == ("stalled", "idle")


def test_a_last_answer_that_was_cut_off_is_a_warning_when_the_work_is_done(runbook: Any) -> None:
    ran = run(runbook, "gemini-cli", [WORK[0], {"say": "I have writ", "stop": "length"}])
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert ran.warnings == ["The model's last answer was cut off at its output limit."]
