"""`runbook cost`: what runs have cost, and never a zero where the price is not known."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HELLO = Path(__file__).parents[3] / "examples" / "hello"

Write = Callable[..., Path]


@pytest.fixture
def write(runbook: Any) -> Write:
    """Puts the trajectory of a run into the home: as `runbook run` writes it, apart from the numbers."""
    shape = runbook("run", HELLO, "--sandbox", "host", "--json")
    assert shape.code == 0, shape.err
    body = shape.trajectory

    def put(
        number: int, *, cost: float | None, calls: int = 1, model: str = "m", day: str = "2026-03-04", **spent: Any
    ) -> Path:
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cost_usd": cost, "api_calls": calls}
        one = json.loads(json.dumps(body))
        one["steps"]["run"]["outputs"]["usage"].update(usage)
        one["init_params"]["model"], one["created"] = model, f"{day}T10:00:00.000000Z"
        if spent:
            one["attributes"]["params"]["spent"] = spent
        folder = Path(runbook.cwd / ".runbook" / "trajectories" / "local" / "task" / f"{number:08x}")
        folder.mkdir(parents=True)
        (folder / "trajectory.json").write_text(json.dumps(one, indent=1))
        return folder

    return put


def test_a_narrow_terminal_costs_no_figure(runbook: Any, write: Write) -> None:
    write(1, cost=0.5, model="big")
    shown = runbook("cost", env={"COLUMNS": "30"}).out
    assert "…" not in shown
    assert "0.5000" in shown
    assert "Cache read" in shown


def test_costs_are_summed_by_model_task_and_day(runbook: Any, write: Write) -> None:
    write(1, cost=0.5, model="big")
    write(2, cost=0.25, model="small", day="2026-03-05")
    write(3, cost=0.25, model="small", day="2026-03-06")
    groups = runbook("cost", "--json").json["groups"]
    assert {name: (group["runs"], group["cost_usd"]) for name, group in groups.items()} == {
        "big": (1, 0.5),
        "small": (2, 0.5),
        "no model": (1, 0.0),
    }
    by_day = runbook("cost", "--by", "day", "--json").json["groups"]
    assert [by_day[day]["cost_usd"] for day in ("2026-03-04", "2026-03-05", "2026-03-06")] == [0.5, 0.25, 0.25]
    by_task = runbook("cost", "--by", "task", "--json").json["groups"]
    assert by_task["local/hello"]["runs"] == 4
    table = runbook("cost").out
    assert "small" in table
    assert "1.0000" in table


def test_runs_that_cost_nothing_are_told(runbook: Any, write: Write) -> None:
    folder = write(1, cost=0.0)
    assert "cost nothing" not in runbook("cost").out
    body = json.loads((folder / "trajectory.json").read_text())
    body["attributes"]["params"]["model_calls"] = {"script": 3}
    (folder / "trajectory.json").write_text(json.dumps(body))
    assert "1 run cost nothing: a model script or a recording answered." in runbook("cost").out
    assert runbook("cost", "--json").json["total"]["free_runs"] == 1


def test_an_unknown_price_is_unknown_and_not_zero(runbook: Any, write: Write) -> None:
    write(1, cost=0.5)
    write(2, cost=None)
    total = runbook("cost", "--json").json["total"]
    assert (total["cost_usd"], total["known_cost_usd"], total["unknown_cost_runs"]) == (None, 0.5, 1)
    assert "0.5000 + unknown for 1 run" in runbook("cost").out
    write(3, cost=None, model="secret")
    assert "unknown for 1 run" in next(line for line in runbook("cost").out.splitlines() if "secret" in line)


def test_answers_from_recordings_and_scripts_cost_nothing(runbook: Any, write: Write) -> None:
    write(1, cost=7.0, calls=9, api_calls=0, cost_usd=None)
    write(2, cost=7.0, calls=9, api_calls=2, cost_usd=0.125, prompt_tokens=3)
    total = runbook("cost", "--json").json["total"]
    assert (total["api_calls"], total["cost_usd"], total["prompt_tokens"]) == (2, 0.125, 3)


def test_since_leaves_out_what_is_older(runbook: Any, write: Write) -> None:
    write(1, cost=0.5, day="2026-03-04")
    write(2, cost=0.25, day="2026-03-05")
    assert runbook("cost", "--since", "2026-03-05", "--json").json["groups"]["m"]["cost_usd"] == 0.25
    assert "m" not in runbook("cost", "--since", "1d", "--json").json["groups"]


@pytest.mark.parametrize(("option", "value"), [("--since", "yesterday"), ("--by", "colour")])
def test_a_wrong_option_is_named(runbook: Any, option: str, value: str) -> None:
    ran = runbook("cost", option, value)
    assert ran.code == 2
    assert repr(value) in ran.err


def test_a_broken_trajectory_is_told_and_not_counted(runbook: Any, write: Write) -> None:
    write(1, cost=0.5)
    (write(2, cost=0.5) / "trajectory.json").write_text('{"name": ')
    os.truncate(write(3, cost=0.5) / "trajectory.json", 1 << 40)  # takes no room on the disk
    ran = runbook("cost", "--json")
    assert (ran.json["total"]["cost_usd"], ran.json["unreadable"]) == (0.5, 2)
    assert "00000002/trajectory.json can't be read" in ran.err


@pytest.mark.parametrize("number", [10**4299 * 9, -1, 1e308, float("inf"), float("nan"), "9" * 5000])
def test_a_number_that_can_not_be_is_told_and_not_counted(runbook: Any, write: Write, number: Any) -> None:
    """The sum of two has more digits than Python writes, or is no JSON."""
    for run, spent in enumerate(({"prompt_tokens": number, "cost_usd": 0.5}, {"cost_usd": number})):
        write(2 * run, cost=0.5, api_calls=1, **spent)
        write(2 * run + 1, cost=0.5, api_calls=1, **spent)
    for ran in (runbook("cost", "--json"), runbook("cost")):
        assert ran.code == 0
        assert "can't be read and is not counted" in ran.err
    assert runbook("cost", "--json").json["unreadable"] == 4


def test_no_runs_cost_nothing(runbook: Any) -> None:
    ran = runbook("cost", "--json")
    assert ran.code == 0
    assert ran.json["total"]["runs"] == 0


def test_ten_thousand_runs_are_summed(runbook: Any, write: Write) -> None:
    text = (write(0, cost=0.001) / "trajectory.json").read_text()
    text += " " * (12_000 - len(text))  # as long as that of a run with a real mission
    parent = runbook.cwd / ".runbook" / "trajectories" / "local" / "task"
    for number in range(1, 10_000):
        folder = parent / f"{number:08x}"
        folder.mkdir()
        (folder / "trajectory.json").write_text(text)
    ran = runbook("cost", "--json")
    assert ran.json["groups"]["m"]["runs"] == 10_000
    assert ran.json["groups"]["m"]["cost_usd"] == pytest.approx(10.0)


AGENT = '''\
argv = ["python3", "-c", """
import os, sys, urllib.request
from pathlib import Path
body = '{"model": "m-1", "messages": [{"role": "user", "content": "hi"}]}'.encode()
headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}
request = urllib.request.Request(os.environ["URL"] + "/v1/chat/completions", body, headers)
Path("/app/results/out.txt").write_bytes(urllib.request.urlopen(request).read()[:1])
"""]
dialect = "openai-chat"
default_model = "m-1"
providers = ["openai"]
env = {URL = "{gateway_url}", TOKEN = "{token}"}
'''


@pytest.mark.needs("bubblewrap")
def test_what_a_script_or_a_recording_answers_costs_nothing_in_lists_too(runbook: Any) -> None:
    (runbook.cwd / ".runbook" / "agents").mkdir(parents=True)
    (runbook.cwd / ".runbook" / "agents" / "mine.toml").write_text(AGENT)
    (runbook.cwd / "model.yaml").write_text("- say: hi\n  usage: {input: 1000, output: 50, cost: 0.1}\n")
    text = "---\nversion: '1'\nevaluation: programmatic\nagent: mine\n---\n# One\n\n## Objective\n\nSay hi.\n"
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "bubblewrap", "--model-script", "model.yaml", "--json")
    assert ran.json["usage"]["cost_usd"] == 0.1, ran.err
    assert runbook("replay", ran.json["trajectory_id"], "--sandbox", "bubblewrap").code == 0
    rows = runbook("runs", "list", "--json").json["runs"]
    assert [(row["kind"], row["cost_usd"], row["total_tokens"]) for row in rows] == [
        ("replay", 0, 1050),
        ("run", 0, 1050),
    ]
    (task,) = runbook("runs", "stats", "--json").json["tasks"]
    total = runbook("cost", "--json").json["total"]
    assert (task["total_cost_usd"], total["cost_usd"], total["free_runs"]) == (0, 0, 2)
    assert "0.1000" not in runbook("runs", "list", env={"COLUMNS": "200"}).out
