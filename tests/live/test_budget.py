"""A budget, with the real Claude Code: the run ends as a failure that is recorded, with what was made until then."""

from typing import Any

import pytest

pytestmark = [pytest.mark.needs("docker")]

RUNBOOK = """\
---
agent: claude-code
{own}---
# Budget — Agent Runbook

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Objective

Write to the file, line by line.
"""
SCRIPT = "".join(
    f"- {{shell: echo {n} >> /app/results/out.txt, usage: {{input: 100, output: 10, cost: 0.2}}}}\n" for n in range(9)
)


@pytest.mark.parametrize(("own", "options", "says"), [
    ("", ("--max-cost", "0.3"), "budget of $0.30 is used up: $0.4000 were spent"),
    ("", ("--max-tokens", "220"), "budget of 220 tokens is used up: 220 were used, cached ones included"),
    ("runbook_runner: {max_calls: 2}\n", (), "budget of 2 model calls is used up"),
    ("runbook_runner: {max_calls: 9, max_cost: 9}\n", ("--max-calls", "2"), "budget of 2 model calls is used up"),
])  # fmt: skip
def test_a_run_that_has_used_up_its_budget_fails_with_its_results(
    runbook: Any, own: str, options: tuple[str, ...], says: str
) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.format(own=own))
    (runbook.cwd / "model.yaml").write_text(SCRIPT)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--json", "--model-script", "model.yaml", *options)
    assert (ran.code, ran.json["status"]) == (4, "failed"), ran.err
    assert says in ran.json["error"]
    assert ran.events("agent.finished")[0]["error_kind"] == "budget"
    assert (ran.folder / "results" / "out.txt").read_text() == "0\n1\n"
    assert ran.json["usage"]["api_calls"] == 2
    assert ran.json["usage"]["cost_usd"] == 0.4


@pytest.mark.parametrize(("own", "says"), [
    ("{max_cots: 3}", "`runbook_runner` has no setting 'max_cots'.\nDid you mean 'max_cost'?"),
    ("{max_cost: -3}", "`runbook_runner.max_cost` must be greater than 0."),
    ("[1]", "`runbook_runner` does not hold settings."),
])  # fmt: skip
def test_a_budget_that_makes_no_sense_is_refused(runbook: Any, own: str, says: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.format(own=f"runbook_runner: {own}\n"))
    ran = runbook("run", "RUNBOOK.md", "--dry-run")
    assert ran.code == 2
    assert says in ran.err
