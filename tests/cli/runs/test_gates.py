"""`run --gate`: what a run must reach decides the exit code, in the place of its verdict."""

import json
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("code", "gates", "exit_code"),
    [
        ("echo one > /app/results/out.txt", ["verdict", "outputs", "no-error", "seconds<600", "calls==0"], 0),
        ("echo one > /app/results/out.txt", ["verdict", "seconds<=0"], 1),
        ("echo one > /app/results/other.txt", ["no-error"], 0),
        ("echo one > /app/results/other.txt", ["no-error", "outputs"], 1),
        ("echo one > /app/results/out.txt", ["score>=1"], 1),
        ("echo one > /app/results/out.txt; exit 3", ["outputs"], 4),
    ],
    ids=["all", "time", "no verdict asked", "outputs", "no score", "error"],
)
def test_gates_decide(runbook: Any, shell_runbook: Any, code: str, gates: list[str], exit_code: int) -> None:
    options = [word for gate in gates for word in ("--gate", gate)]
    ran = runbook("run", shell_runbook(code), "--sandbox", "host", "--json", *options)
    assert ran.code == exit_code, ran.err
    assert [one["gate"] for one in ran.json["gates"]] == gates
    failed = [one for one in ran.json["gates"] if not one["holds"]]
    assert bool(failed) == (exit_code == 1)
    shown = [f"✗ gate {one['gate']}: {one['why']}" for one in failed]
    assert [line for line in ran.err.splitlines() if line.startswith("✗ gate")] == shown


def test_what_the_agent_says_of_its_own_score_holds_no_gate(runbook: Any, shell_runbook: Any) -> None:
    entry = {"kind": "judge", "id": "wit", "status": "pass", "score": 5, "max_score": 5, "threshold": 3}
    report = json.dumps({"version": 2, "checks": [entry], "overall_score": 5, "overall_passed": True})
    code = f"echo one > /app/results/out.txt; echo '{report}' > /app/results/validation_report.json"
    ran = runbook("run", shell_runbook(code), "--sandbox", "host", "--json", "--gate", "score>=4")
    assert (ran.code, ran.json["verdict"]) == (1, "pass"), ran.err
    assert ran.json["gates"][0]["why"] == "the mean of the judge's scores: not known; --judge-model asks a judge"


def test_a_quiet_run_names_the_gates_that_do_not_hold(runbook: Any, shell_runbook: Any) -> None:
    path = shell_runbook("echo one > /app/results/other.txt")
    ran = runbook("run", path, "--sandbox", "host", "-q", "--gate", "outputs", "--gate", "no-error")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith(": Not reached: outputs: not there: out.txt.\n")
    assert runbook("run", path, "--sandbox", "host", "-q", "--gate", "no-error").err == ""


def test_what_is_no_gate_is_refused_before_anything_runs(runbook: Any, shell_runbook: Any) -> None:
    refused = runbook("run", shell_runbook("true"), "--gate", "verdit")
    assert refused.code == 2
    assert "'verdit' is not a gate. Did you mean 'verdict'?" in " ".join(refused.err.split())
    assert not (runbook.cwd / ".runbook").exists()
