"""A recorded run, run again without provider, key or network: the real Claude Code, answered from the recording."""

import json
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from runbook_runner.core.events import Usage
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette
from runbook_runner.gateway.dialects.anthropic import AnthropicMessages
from runbook_runner.gateway.dialects.base import ParsedRequest, Reply

EXAMPLE = Path(__file__).parents[2] / "examples" / "sales-report"
KEY = "canary-Kk5/Rr+82tF3-provider"
SECRET = "canary-Ss9?Tt=17&vG4-declared"
TURNS = 60

pytestmark = [pytest.mark.needs("docker"), pytest.mark.xdist_group("replay"), pytest.mark.timeout(600)]

RUNBOOK = """\
---
agent: claude-code
---
# Steps — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/log.txt` | One line a step |

## Step 1: Work

Take sixty steps.
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file as a reader gets it, compressed ones unpacked."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    unpack = zstandard.ZstdDecompressor()
    return {
        name: unpack.decompressobj().decompress(path.read_bytes()) if name.endswith(".zst") else path.read_bytes()
        for name, path in files.items()
    }


def results(folder: Path) -> dict[str, bytes]:
    return contents(folder / "results")


# --- the same again ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(make_runbook: Callable[[], Any]) -> Any:
    done = make_runbook()("run", EXAMPLE, "--model-script", EXAMPLE / "model.yaml", "--json")
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def replayed(recorded: Any, make_runbook: Callable[[], Any]) -> Any:
    """In another folder, from a copy of the trajectory: nothing else of the first run is there."""
    command = make_runbook()
    shutil.copytree(recorded.folder, command.cwd / "copy")
    return command("replay", "copy", "--network", "full", "--json")


def test_a_replay_makes_the_same_results_byte_for_byte(recorded: Any, replayed: Any) -> None:
    assert replayed.code == 0, replayed.err
    assert results(replayed.folder) == results(recorded.folder)
    assert replayed.json["results"]["identical"] is True
    assert sorted(replayed.json["results"]["same"]) == ["report.md", "summary.md", "validation_report.json"]


def test_a_replay_asks_no_provider_and_needs_no_key(replayed: Any) -> None:
    assert replayed.json["model_calls"] == {"replay": 4}
    assert {event["source"] for event in replayed.events("model.called")} == {"replay"}
    assert replayed.trajectory["attributes"]["params"]["spent"]["api_calls"] == 0


def test_a_replay_has_the_tool_calls_and_tokens_of_the_recording(recorded: Any, replayed: Any) -> None:
    assert replayed.json["tool_calls"] == {"identical": True, "recorded": 3, "repeated": 3, "first_difference": None}
    usage = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "api_calls", "cost_usd")
    assert [replayed.json["usage"][what] for what in usage] == [recorded.json["usage"][what] for what in usage]


def test_a_replay_diverges_in_nothing_but_what_tools_printed(replayed: Any) -> None:
    origins = {d["origin"] for event in replayed.events("replay.diverged") for d in event["differences"]}
    assert origins <= {"tool output"}, "`ls -l` shows when a file was made"
    assert replayed.json["divergences"]["major"] == replayed.json["divergences"]["miss"] == 0


def test_a_replay_names_its_parent(recorded: Any, replayed: Any) -> None:
    params = replayed.trajectory["attributes"]["params"]
    assert params["parent_trajectory_id"] == recorded.json["trajectory_id"]
    assert params["replay"]["mode"] == "replay"
    assert params["spec_digest"] == recorded.trajectory["attributes"]["params"]["spec_digest"]


def test_a_replay_can_be_replayed_by_its_id(replayed: Any, make_runbook: Callable[[], Any]) -> None:
    home = {"RUNBOOK_HOME": str(replayed.folder.parents[3])}
    again = make_runbook()("replay", replayed.json["trajectory_id"], "--json", env=home)
    assert again.code == 0, again.err
    assert again.json["parent_trajectory_id"] == replayed.json["trajectory_id"]


def test_another_agent_or_image_than_the_recorded_is_told_and_can_be_refused(recorded: Any, runbook: Any) -> None:
    shutil.copytree(recorded.folder, runbook.cwd / "copy")
    events = runbook.cwd / "copy" / "events.jsonl"
    older = events.read_text().replace(f'"{recorded.json["image_digest"]}"', f'"sha256:{"0" * 64}"')
    version = recorded.events("agent.started")[0]["version"]
    events.write_text(older.replace(f'"version":"{version}"', '"version":"2.0.0"'))
    ran = runbook("replay", "copy", "--strict", "--network", "full", "--json")
    assert ran.code == 1, ran.err
    assert ran.json["results"]["identical"] is True
    agent, image = ran.json["environment"]
    assert agent == f"claude-code 2.0.0 then, {version} now"
    assert image.startswith("image built again from the same files: 000000000000 then, ")
    assert ran.warnings[:2] == [f"Not as recorded: {agent}.", f"Not as recorded: {image}."]
    assert all(f"! {line}" in ran.err for line in (agent, image))


def test_an_edited_runbook_gets_the_recorded_answers_and_is_told_so(recorded: Any, runbook: Any) -> None:
    shutil.copytree(EXAMPLE, runbook.cwd / "edited")
    document = runbook.cwd / "edited" / "RUNBOOK.md"
    document.write_text(document.read_text().replace("a manager can act on", "a baker can act on"))
    ran = runbook("run", "edited", "--replay", recorded.folder, "--json")
    assert ran.code == 0, ran.err
    event = next(event for event in ran.events("replay.diverged") if event["severity"] == "major")
    assert "a manager can act on" in event["differences"][0]["before"]
    assert "a baker can act on" in event["differences"][0]["after"]
    assert event["differences"][0]["path"].startswith("messages[0].content[")


# --- sixty turns ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sixty(make_runbook: Callable[[], Any]) -> Any:
    command = make_runbook()
    (command.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    turns: list[dict[str, Any]] = [
        {
            "say": f"Step {n}.",
            "shell": f"echo step {n} | tee -a /app/results/log.txt",
            "usage": {"input": n, "output": 1},
        }
        for n in range(1, TURNS)
    ]
    (command.cwd / "model.yaml").write_text(json.dumps([*turns, {"say": "Done."}]))
    done = command("run", "RUNBOOK.md", "--model-script", "model.yaml", "--json")
    assert (done.code, done.json["usage"]["api_calls"]) == (0, TURNS), done.err
    return done


def test_sixty_turns_replay_to_the_same_file(sixty: Any, runbook: Any) -> None:
    ran = runbook("replay", sixty.folder, "--json")
    assert ran.code == 0, ran.err
    assert results(ran.folder) == results(sixty.folder)
    assert ran.json["model_calls"] == {"replay": TURNS}
    assert ran.json["divergences"] == {"minor": 0, "major": 0, "miss": 0}
    assert ran.json["usage"]["prompt_tokens"] == sum(range(1, TURNS))


def tamper(folder: Path, number: int, change: Callable[[Any], None]) -> None:
    """Changes a recorded request as if it had been so: digests and index fit."""
    cassette = Cassette(folder, Redactor({}))
    calls = cassette.calls()
    document = json.loads(json.dumps(cassette.read(number).request))
    change(document)
    kept = cassette.keep_json(document)
    (folder / "index.jsonl").unlink()
    for call in calls:
        cassette.append(call.model_copy(update={"request": kept}) if call.number == number else call)


def test_a_recording_tampered_with_at_turn_30_stops_there_and_names_the_field(sixty: Any, runbook: Any) -> None:
    shutil.copytree(sixty.folder, runbook.cwd / "copy")

    def change(document: Any) -> None:
        call = next(block for block in document["messages"][57]["content"] if block["type"] == "tool_use")
        call["input"]["command"] = "rm -rf /"

    tamper(runbook.cwd / "copy" / "model", 30, change)
    ran = runbook("replay", "copy", "--json")
    assert (ran.code, ran.json["status"]) == (4, "failed"), ran.err
    assert "messages[57].content[1].input.command, line 1 (model):" in ran.json["error"]
    assert "- rm -rf /" in ran.json["error"]
    assert "+ echo step 29 | tee -a /app/results/log.txt" in ran.json["error"]
    assert ran.events("agent.finished")[0]["error_kind"] == "replay"
    assert [event["number"] for event in ran.events("replay.diverged")] == [30]
    assert (ran.folder / "results" / "log.txt").read_text().splitlines() == [f"step {n}" for n in range(1, 30)]
    assert ran.json["results"]["changed"] == ["log.txt"]


def test_nearest_goes_on_past_it_and_does_not_pass(sixty: Any, runbook: Any) -> None:
    shutil.copytree(sixty.folder, runbook.cwd / "copy")
    tamper(runbook.cwd / "copy" / "model", 30, lambda document: document["messages"][57]["content"][0].update(text="?"))
    ran = runbook("replay", "copy", "--on-miss", "nearest", "--json")
    assert ran.code == 1, ran.err
    assert results(ran.folder) == results(sixty.folder)
    assert ran.json["divergences"] == {"minor": 0, "major": 0, "miss": 1}


# --- fork ----------------------------------------------------------------------------------------------------------


def test_a_fork_takes_the_first_calls_from_the_recording_and_goes_on_by_script(sixty: Any, runbook: Any) -> None:
    turns = [{"shell": "echo another way | tee -a /app/results/log.txt"}, {"say": "Done otherwise."}]
    (runbook.cwd / "then.yaml").write_text(json.dumps(turns))
    ran = runbook("replay", sixty.folder, "--until", "5", "--then", "script", "then.yaml", "--json")
    assert ran.code == 0, ran.err
    log = (ran.folder / "results" / "log.txt").read_text().splitlines()
    assert log == ["step 1", "step 2", "step 3", "step 4", "step 5", "another way"]
    assert ran.json["model_calls"] == {"replay": 5, "script": 2}
    params = ran.trajectory["attributes"]["params"]
    assert params["parent_trajectory_id"] == sixty.json["trajectory_id"]
    assert (params["replay"]["mode"], params["replay"]["until"], params["replay"]["then"]) == ("fork", 5, "script")
    assert ran.trajectory["steps"]["run"]["outputs"]["text"] == "Done otherwise."


class Provider(BaseHTTPRequestHandler):
    """Says that it is done, whatever it is asked."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.headers.get("x-api-key"), json.loads(body)))  # type: ignore[attr-defined]
        usage = Usage(prompt_tokens=11, completion_tokens=3, api_calls=1)
        reply = Reply("live_1", None, "Done live.", (), usage)
        ask = ParsedRequest("claude-sonnet-4-6", True, (), {})
        data = b"".join(AnthropicMessages().render(reply, ask))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_fork_goes_on_with_the_provider_and_spends_only_what_it_asked(
    sixty: Any, runbook: Any, provider: ThreadingHTTPServer
) -> None:
    env = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{provider.server_port}", "ANTHROPIC_API_KEY": KEY}
    ran = runbook("replay", sixty.folder, "--until", "3", "--then", "live", "--json", env=env)
    assert ran.code == 0, ran.err
    ((key, asked),) = provider.asked  # type: ignore[attr-defined]
    assert key == KEY
    assert len(asked["messages"]) == 7, "the mission, and three calls with their results"
    assert ran.json["model_calls"] == {"replay": 3, "provider": 1}
    assert (ran.folder / "results" / "log.txt").read_text() == "step 1\nstep 2\nstep 3\n"
    spent = ran.trajectory["attributes"]["params"]["spent"]
    assert (spent["prompt_tokens"], spent["api_calls"]) == (11, 1)
    summed = runbook("cost", "--json").json["total"]
    assert (summed["prompt_tokens"], summed["cost_usd"]) == (11, round(spent["cost_usd"], 6))
    assert [name for name, data in contents(ran.folder).items() if KEY.encode() in data] == []


def test_a_fork_that_goes_live_needs_a_key(sixty: Any, runbook: Any) -> None:
    ran = runbook("replay", sixty.folder, "--until", "3", "--then", "live")
    assert ran.code == 3
    assert "ANTHROPIC_API_KEY is not set" in ran.err


# --- scripts -------------------------------------------------------------------------------------------------------


def test_a_script_made_from_a_recording_runs_to_the_same_tool_calls(recorded: Any, runbook: Any) -> None:
    made = runbook("script", "from", recorded.folder, "-o", "made.yaml")
    assert made.code == 0, made.err
    turns, original = (yaml.safe_load(path.read_text()) for path in (runbook.cwd / "made.yaml", EXAMPLE / "model.yaml"))
    assert turns == original, "what was played is what comes out"
    ran = runbook("run", EXAMPLE, "--model-script", "made.yaml", "--json")
    assert ran.code == 0, ran.err
    calls = [[(event["name"], event["input"]) for event in run.events("tool.called")] for run in (recorded, ran)]
    assert calls[0] == calls[1]
    assert results(ran.folder) == results(recorded.folder)


# --- what is recorded ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "files"), [("metadata", ["index.jsonl"]), ("none", [])])
def test_what_was_not_recorded_in_full_cannot_be_replayed(runbook: Any, mode: str, files: list[str]) -> None:
    args = ("--model-script", EXAMPLE / "model.yaml", "--record-mode", mode, "--json")
    ran = runbook("run", EXAMPLE, *args)
    assert (ran.code, ran.json["usage"]["api_calls"]) == (0, 4), ran.err
    assert [path.name for path in (ran.folder / "model").rglob("*") if path.is_file()] == files
    for command in (("replay",), ("script", "from")):
        refused = runbook(*command, ran.folder)
        assert refused.code == 2
        assert "--record-mode full" in refused.err


# --- secrets -------------------------------------------------------------------------------------------------------


def test_a_replay_needs_no_secret_and_keeps_none(make_runbook: Callable[[], Any], runbook: Any) -> None:
    first = make_runbook()
    secrets = "secrets:\n  SERVICE_TOKEN:\n    env: SERVICE_TOKEN\n    required: true\n"
    (first.cwd / "RUNBOOK.md").write_text(RUNBOOK.replace("---\n# Steps", f"{secrets}---\n# Steps"))
    leak = "env | sort | grep -e SERVICE -e API_KEY -e AUTH | tee /app/results/log.txt"
    (first.cwd / "model.yaml").write_text(json.dumps([{"shell": leak}, {"say": "Done."}]))
    keys = {"ANTHROPIC_API_KEY": KEY, "SERVICE_TOKEN": SECRET}
    recorded = first("run", "RUNBOOK.md", "--trust", "--model-script", "model.yaml", "--json", env=keys)
    assert recorded.code == 0, recorded.err
    without = runbook("replay", recorded.folder, "--json")
    assert without.code == 0, without.err
    log = (without.folder / "results" / "log.txt").read_text()
    assert "SERVICE_TOKEN=***REDACTED:SERVICE_TOKEN***" in log
    withs = runbook("replay", recorded.folder, "--json", env=keys)
    assert withs.code == 0, withs.err
    for ran in (recorded, without, withs):
        files = contents(ran.folder)
        assert [name for name, data in files.items() if KEY.encode() in data or SECRET.encode() in data] == []
        assert KEY not in ran.out + ran.err


# --- no network ----------------------------------------------------------------------------------------------------


def alone(command: Any, *args: str | Path) -> Any:
    """`runbook` in a network namespace that has nothing but loopback."""
    program = Path(sys.executable).with_name("runbook")
    line = "exec " + shlex.join([str(program), *map(str, args)])
    shell = ["unshare", "--net", "sh", "-c", f"ip link set lo up && ip -brief link >&2 && {line}"]
    done = subprocess.run(shell, cwd=command.cwd, env=command.env, capture_output=True, text=True)
    assert done.stderr.startswith("lo "), "only loopback is there"
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "code": done.returncode, "err": done.stderr}


@pytest.mark.needs("root", "linux")
@pytest.mark.parametrize("agent", ["claude-code", "codex", "gemini-cli", "hermes", "opencode"])
def test_every_cli_runs_by_script_and_replays_where_there_is_no_network(runbook: Any, agent: str) -> None:
    """Neither the runner nor the container has any: the container's only way out is the gateway's socket."""
    model = ("--agent", agent, "--model-script", EXAMPLE / "model.yaml", "--network", "model-only")
    first = alone(runbook, "run", EXAMPLE, *model, "--json")
    assert first["code"] == 0, first
    again = alone(runbook, "replay", first["trajectory_id"], "--json")
    assert again["code"] == 0, again
    assert results(Path(again["path"])) == results(Path(first["path"]))
    assert again["model_calls"] == {"replay": 4}
    assert again["tool_calls"]["identical"] is True
    assert (again["divergences"]["major"], again["divergences"]["miss"]) == (0, 0)


@pytest.fixture(scope="module")
def claude(recorded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the real CLI, taken from the image that we built."""
    folder = tmp_path_factory.mktemp("bin")
    image = recorded.json["image_digest"]
    made = subprocess.run(["docker", "create", image], capture_output=True, text=True, check=True).stdout.strip()
    try:
        command = ["docker", "cp", "--follow-link", f"{made}:/usr/local/bin/claude", str(folder / "claude")]
        subprocess.run(command, capture_output=True, check=True)
    finally:
        subprocess.run(["docker", "rm", made], capture_output=True, check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.needs("root", "linux")
def test_a_replay_finds_its_way_where_app_is_another_folder_and_no_network(runbook: Any, claude: Path) -> None:
    """On the host `/app` is a temporary folder, another one in each run; every request names it."""
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    command = "echo hello | tee $RESULTS_DIR/log.txt"
    (runbook.cwd / "model.yaml").write_text(json.dumps([{"say": "On it.", "shell": command}, {"say": "Done."}]))
    runbook.env["PATH"] = f"{claude}:{runbook.env['PATH']}"
    recorded = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--model-script", "model.yaml", "--json")
    assert recorded.code == 0, recorded.err
    again = alone(runbook, "replay", recorded.json["trajectory_id"], "--json")
    assert again["code"] == 0, again
    assert results(Path(again["path"])) == results(recorded.folder) == {"log.txt": b"hello\n"}
    assert again["model_calls"] == {"replay": 2}
    assert again["tool_calls"]["identical"] is True
