"""`runbook watch` of a judged runbook: what the judge said of the same results is taken from the recording."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.needs("bubblewrap")
def test_the_judge_is_asked_again_only_about_other_results(
    runbook: Any, rubric: Callable[..., Path], eventually: Callable[..., Any]
) -> None:
    rubric(code="cat /app/assets/a.txt > /app/results/story.md")
    a, b = runbook.cwd / "a.txt", runbook.cwd / "b.txt"
    a.write_text("# Once")
    b.write_text("one")
    (runbook.cwd / "judge.yaml").write_text(json.dumps([{"say": "x", "usage": {"input": 7, "cost": 0.5}}] * 3))
    options = ("--sandbox", "bubblewrap", "--judge-script", "judge.yaml", "-f", "a.txt", "-f", "b.txt")
    shown = runbook.cwd / "shown.txt"

    def sources() -> list[list[str]]:
        logs = sorted(runbook.cwd.glob(".runbook/trajectories/*/*/*/events.jsonl"), key=lambda log: log.stat().st_mtime)
        events = [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]
        return [[event["source"] for event in run if event["type"] == "model.called"] for run in events]

    with shown.open("w") as out:
        process = runbook.start("watch", ".", *options, stdout=out, stderr=out)
    try:
        eventually(lambda: shown.read_text().count("Watching ") == 1)
        b.write_text("two")
        eventually(lambda: shown.read_text().count("Watching ") == 2)
        a.write_text("# Twice")
        eventually(lambda: shown.read_text().count("Watching ") == 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait(60)
    first, second, third = sources()
    assert set(first) == {"script"}
    assert set(second) == {"replay"}
    assert set(third) == {"script"}
    assert "saved 14 tokens and $1.0000" in shown.read_text()
