"""`runbook reproduce`: two machines in miniature: a run of a platform, which is a server of recorded answers, is run
again here and compared."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parents[2] / "client/recorded/count.json"
RUN = "acme/count/37c37963"
OUTPUT = "/api/v1/file/acme/count/0000/37c37963.run.0000.app--results--output.md"


@pytest.fixture
def server(platform_server: Any) -> Any:
    platform_server.play(RECORDED)
    return platform_server


def test_an_untouched_run_is_the_same(runbook: Any, server: Any) -> None:
    ran = runbook("reproduce", RUN, "--sandbox", "host", env=server.env)
    assert ran.code == 0, ran.out + ran.err
    assert f"is the same as {RUN}." in ran.out
    assert "Next: runbook diff acme/count/37c37963 " in ran.out
    asked = len(server.requests)
    again = runbook("reproduce", RUN, "--sandbox", "host", "--json", env=server.env)
    assert (again.code, again.json["same"], again.json["first_difference"]) == (0, True, None)
    assert len(server.requests) == asked
    assert "it is not fetched again" in again.err


@pytest.mark.parametrize("brought", ["by a clone", "changed", "of another platform"])
def test_only_what_was_pulled_from_there_stands_for_it(runbook: Any, server: Any, brought: str) -> None:
    pulled = Path(runbook("pull", RUN, "--json", env=server.env).json["path"])
    assert runbook("runs", "label", pulled, "a=b").code == 0  # is no change of what was pulled
    assert runbook("reproduce", RUN, "--sandbox", "host", "--dry-run", env=server.env).code == 0
    env = server.env
    if brought == "by a clone":
        pulled.rename(pulled.with_name("elsewhere"))
        shutil.copytree(pulled.with_name("elsewhere"), pulled)
        shutil.rmtree(pulled.with_name("elsewhere"))
    elif brought == "changed":
        (pulled / "results/output.md").write_text("forged\n")
    else:
        env = {**env, "JETTY_API_URL": "http://localhost:1"}
    ran = runbook("reproduce", RUN, "--sandbox", "host", env=env)
    assert ran.code == 2, ran.out
    assert "which you have not pulled from there, or which was changed since" in ran.err
    if brought != "of another platform":
        again = runbook("reproduce", RUN, "--sandbox", "host", "--replace", "--json", env=env)
        assert (again.code, again.json["same"]) == (0, True), again.err


def test_a_run_that_gave_something_else_is_told_where_it_first_differs(runbook: Any, server: Any) -> None:
    server.answers.pop(("GET", OUTPUT))
    server.on("GET", OUTPUT, "north: 3 lines\n")
    ran = runbook("reproduce", RUN, "--sandbox", "host", env=server.env)
    assert ran.code == 1, ran.err
    assert f"first differs from {RUN} in results/output.md." in ran.out
    assert "-north: 3 lines" in ran.out
    assert "+north: 2 lines" in ran.out
    quiet = runbook("reproduce", RUN, "--sandbox", "host", "--quiet", env=server.env)
    assert (quiet.code, quiet.out) == (1, "")
    assert f"It first differs from {RUN} in results/output.md" in quiet.err


def test_a_dry_run_shows_what_would_run(runbook: Any, server: Any) -> None:
    ran = runbook("reproduce", RUN, "--sandbox", "host", "--dry-run", env=server.env)
    assert ran.code == 0, ran.err
    assert "Count — Agent Runbook: this would run" in ran.out
    assert "region = north" in ran.out


def test_another_value_is_shown_and_its_effect_found(runbook: Any, server: Any) -> None:
    options = ("--sandbox", "host", "-p", "region=south", "--json")
    ran = runbook("reproduce", RUN, *options, env=server.env)
    assert ran.code == 1, ran.err
    assert "parameter region: recorded north, now south" in ran.err
    assert "results/output.md" in ran.json["differences"]


def test_a_run_that_can_not_be_run_here_is_pulled_and_the_reason_told(runbook: Any, server: Any) -> None:
    (answer,) = server.answers["GET", f"/api/v1/trajectory/{RUN}"]
    body = json.loads(answer.body)
    body["init_params"]["agent"] = "unknown-agent"
    answer.body = json.dumps(body).encode()
    ran = runbook("reproduce", RUN, "--sandbox", "host", env=server.env)
    assert ran.code == 2
    assert "unknown-agent" in ran.err
    assert f"The run {RUN} can't be run here." in ran.err


def test_a_missing_input_is_named_before_anything_starts(runbook: Any, server: Any) -> None:
    del server.answers["GET", "/api/v1/file/acme/_sandbox_uploads/1d43f0e20f41/data.csv"]
    ran = runbook("reproduce", RUN, "--sandbox", "host", env=server.env)
    assert ran.code == 2
    assert "_sandbox_uploads/1d43f0e20f41/data.csv" in ran.err
    assert len(list((runbook.cwd / ".runbook/trajectories/acme/count").glob("[0-9a-f]*"))) == 1


AGENT = """\
argv = ["python3", "-c", '''
import json, os, urllib.request
body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}
request = urllib.request.Request(os.environ["URL"] + "/v1/chat/completions", json.dumps(body).encode(), headers)
answer = json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
open(os.path.join(os.environ["RESULTS_DIR"], "output.md"), "w").write(answer)
''']
dialect = "openai-chat"
[env]
URL = "{gateway_url}"
TOKEN = "{token}"
"""
ASKING = "---\nagent: asking\nmodel: m\n---\n# Ask — Agent Runbook\n\n## Objective\n\nAsk.\n"


@pytest.mark.parametrize(("said", "same"), [("north: 2 lines", True), ("north: 3 lines", False)])
def test_a_model_answer_that_is_another_one_is_found(runbook: Any, server: Any, said: str, same: bool) -> None:
    (answer,) = server.answers["GET", f"/api/v1/trajectory/{RUN}"]
    body = json.loads(answer.body)
    body["init_params"] = {"agent": "asking", "model": "m", "instruction": ASKING, "vars": {}, "file_paths": []}
    outputs = body["steps"]["run"]["outputs"]
    outputs["results_files"], outputs["files"] = outputs["results_files"][:1], outputs["results_files"][:1]
    answer.body = json.dumps(body).encode()
    server.answers.pop(("GET", OUTPUT))
    server.on("GET", OUTPUT, "north: 2 lines")
    agents = runbook.cwd / ".runbook/agents"
    agents.mkdir(parents=True)
    (agents / "asking.toml").write_text(AGENT)
    (runbook.cwd / "model.yaml").write_text(json.dumps([{"say": said}]))
    options = ("--trust", "--sandbox", "host", "--model-script", "model.yaml", "--json")
    ran = runbook("reproduce", RUN, *options, env=server.env)
    assert (ran.json["same"], ran.code) == (same, 0 if same else 1), ran.err
    assert ran.json["first_difference"] == (None if same else "results/output.md")
