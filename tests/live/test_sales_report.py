"""The main job with every real part: the real Claude Code in a real container, answered by the model script."""

import csv
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runbook_runner.agents.built_in.claude_code import VERSION
from runbook_runner.trajectory.models import Trajectory

EXAMPLE = Path(__file__).parents[2] / "examples" / "sales-report"
SCRIPT = EXAMPLE / "model.yaml"

pytestmark = [pytest.mark.needs("docker"), pytest.mark.xdist_group("sales-report")]


@pytest.fixture(scope="module")
def ran(make_runbook: Callable[[], Any]) -> Any:
    """One run that the tests below look at."""
    done = make_runbook()("run", EXAMPLE, "--model-script", SCRIPT, "--json")
    assert done.code == 0, done.err
    return done


def test_the_numbers_are_those_of_the_file(ran: Any) -> None:
    total, sums = Decimal(0), defaultdict(Decimal)
    with (EXAMPLE / "inputs" / "sales.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            revenue = int(row["units"]) * Decimal(row["unit_price"])
            total += revenue
            for key in (row["region"], row["product"], row["date"][:7]):
                sums[key] += revenue
    report = (ran.folder / "results" / "report.md").read_text()
    assert f"Total revenue: {total:.2f} EUR" in report
    rows = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|$", report, re.MULTILINE))
    assert {key: Decimal(amount) for key, amount in rows.items()} == sums
    assert f"{total:.2f} EUR" in (ran.folder / "results" / "summary.md").read_text()


def test_the_verdict_comes_from_the_report(ran: Any) -> None:
    report = json.loads((ran.folder / "results" / "validation_report.json").read_text())
    assert report["overall_passed"] is True
    assert ran.trajectory["steps"]["run"]["outputs"]["validation_report"] == report
    assert (ran.json["verdict"], ran.json["missing_outputs"]) == ("pass", [])
    assert Path(ran.json["primary_output"]).name == "report.md"


def test_the_trajectory_has_the_contracts_shape(ran: Any) -> None:
    schema = Trajectory.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(ran.trajectory)
    outputs = ran.trajectory["steps"]["run"]["outputs"]
    run_id = ran.json["trajectory_id"]
    assert outputs["primary_files"] == [f"local/sales-report/0000/{run_id}.run.0000.app--results--report.md"]
    results, files = [f["path"] for f in outputs["results_files"]], [f["path"] for f in outputs["files"]]
    assert files[: len(results)] == results
    assert any(re.search(r"logs--agent--.*\.jsonl$", path) for path in files)


def test_tokens_are_those_of_the_script_for_both_who_count(ran: Any) -> None:
    turns = [turn["usage"] for turn in yaml.safe_load(SCRIPT.read_text())]
    usage = ran.json["usage"]
    assert usage["prompt_tokens"] == sum(turn["input"] for turn in turns)
    assert usage["completion_tokens"] == sum(turn["output"] for turn in turns)
    assert usage["cache_read_tokens"] == sum(turn.get("cache_read", 0) for turn in turns)
    assert usage["api_calls"] == len(turns)
    told = ran.events("agent.finished")[0]["usage"]
    assert told["prompt_tokens"] == usage["prompt_tokens"]
    assert told["completion_tokens"] == usage["completion_tokens"]


def test_it_was_the_real_cli_in_the_image_we_built(ran: Any) -> None:
    init = next(event["payload"] for event in ran.events("agent.notice") if event["kind"] == "system/init")
    assert init["claude_code_version"] == VERSION
    assert init["cwd"] == "/app"
    sandbox = ran.events("sandbox.started")[0]
    assert sandbox["backend"] == "docker"
    assert ran.json["image_digest"] == sandbox["image_digest"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", ran.json["image_digest"])


def test_tool_calls_and_messages_are_events(ran: Any) -> None:
    turns = yaml.safe_load(SCRIPT.read_text())
    called = [event["input"]["command"] for event in ran.events("tool.called")]
    assert called == [turn["shell"] for turn in turns if "shell" in turn]
    said = [event["text"] for event in ran.events("agent.message") if event["role"] == "assistant"]
    assert said == [turn["say"] for turn in turns]
    assert len(ran.events("tool.returned")) == len(called)


def test_every_model_call_is_in_the_cassette(ran: Any) -> None:
    calls = [json.loads(line) for line in (ran.folder / "model" / "index.jsonl").read_text().splitlines()]
    assert [call["number"] for call in calls] == [1, 2, 3, 4]
    assert all(call["status"] == 200 for call in calls)
    assert all((ran.folder / "model" / "blobs").rglob(f"{call['request']['blob']}*") for call in calls)


def test_the_folder_has_the_layout_of_the_design(ran: Any) -> None:
    names = {path.name for path in ran.folder.iterdir()}
    files = {"spec.json", "RUNBOOK.md", "events.jsonl", "trajectory.json", "sandbox.log"}
    assert names == files | {"agent", "inputs", "model", "results"}
    log = (ran.folder / "sandbox.log").read_text()
    assert ran.json["image_digest"] in log
    assert "agent ended by exit, exit code 0" in log


def test_atif_tells_the_same_run(ran: Any) -> None:
    atif = json.loads((ran.folder / "agent" / "atif.json").read_text())
    assert atif["schema_version"] == "ATIF-v1.7"
    assert [step["step_id"] for step in atif["steps"]] == [1, 2, 3, 4, 5]
    calls = [call for step in atif["steps"] for call in step.get("tool_calls", [])]
    answers = [result for step in atif["steps"] for result in step.get("observation", {}).get("results", [])]
    assert [call["tool_call_id"] for call in calls] == [answer["source_call_id"] for answer in answers]
    assert atif["final_metrics"]["total_completion_tokens"] == ran.json["usage"]["completion_tokens"]


def test_nothing_is_left_in_the_engine(ran: Any) -> None:
    mine = f"label=runbook.trajectory={ran.json['trajectory_id']}"
    for what in (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"]):
        done = subprocess.run(["docker", *what, "--filter", mine], capture_output=True, text=True, check=True)
        assert done.stdout == ""


def test_the_spec_digest_is_the_same_for_a_second_run(ran: Any, make_runbook: Callable[[], Any]) -> None:
    again = make_runbook()("run", EXAMPLE, "--model-script", SCRIPT, "--json", "--dry-run")
    assert again.json["digest"] == ran.trajectory["attributes"]["params"]["spec_digest"]
