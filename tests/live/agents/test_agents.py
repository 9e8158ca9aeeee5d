"""The same runbook with every real CLI in Docker, answered by one model script: the same work, tokens and results."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from runbook_runner.agents.registry import find_agent

EXAMPLE = Path(__file__).parents[3] / "examples" / "sales-report"
SCRIPT = EXAMPLE / "model.yaml"
TURNS = yaml.safe_load(SCRIPT.read_text())
AGENTS = ("claude-code", "codex", "gemini-cli", "hermes", "opencode")
DIALECTS = {
    "claude-code": "anthropic",
    "codex": "openai-responses",
    "gemini-cli": "gemini",
    "hermes": "openai-chat",
    "opencode": "openai-chat",
}

pytestmark = [pytest.mark.needs("docker"), pytest.mark.xdist_group("agents"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=AGENTS)
def ran(request: pytest.FixtureRequest, make_runbook: Callable[[], Any]) -> Any:
    done = make_runbook()("run", EXAMPLE, "--agent", request.param, "--model-script", SCRIPT, "--json", timeout=500)
    assert done.code == 0, done.err
    return done


def agent_of(ran: Any) -> str:
    return str(ran.events("agent.started")[0]["agent"])


def test_every_cli_makes_the_same_results(ran: Any) -> None:
    assert (ran.json["verdict"], ran.json["missing_outputs"]) == ("pass", [])
    assert {path.name: path.read_bytes()[:40] for path in (ran.folder / "results").iterdir()} == {
        "report.md": b"# Sales report\n\nTotal revenue: 41223.50 EUR"[:40],
        "summary.md": b"Revenue was 41223.50 EUR. West is the strongest"[:40],
        "validation_report.json": (ran.folder / "results" / "validation_report.json").read_bytes()[:40],
    }
    assert json.loads((ran.folder / "results" / "validation_report.json").read_text())["overall_passed"] is True


def test_every_cli_shows_the_same_tool_calls_and_messages(ran: Any) -> None:
    called = [event["input"]["command"] for event in ran.events("tool.called")]
    assert called == [turn["shell"] for turn in TURNS if "shell" in turn]
    said = [event["text"] for event in ran.events("agent.message") if event["role"] == "assistant"]
    assert said == [turn["say"] for turn in TURNS]
    answers = ran.events("tool.returned")
    assert [event["call_id"] for event in answers] == [event["call_id"] for event in ran.events("tool.called")]
    assert "Revenue was 41223.50 EUR" in answers[1]["output"]


def test_every_cli_and_the_gateway_count_the_scripts_tokens(ran: Any) -> None:
    usage = ran.json["usage"]
    assert usage["prompt_tokens"] == sum(turn["usage"]["input"] for turn in TURNS)
    assert usage["completion_tokens"] == sum(turn["usage"]["output"] for turn in TURNS)
    assert usage["cache_read_tokens"] == sum(turn["usage"].get("cache_read", 0) for turn in TURNS)
    assert usage["api_calls"] == len(TURNS)
    told = ran.events("agent.finished")[0]["usage"]
    for what in ("prompt_tokens", "completion_tokens", "cache_read_tokens"):
        assert told[what] == usage[what]


def test_every_cli_speaks_its_own_dialect_at_its_pinned_version(ran: Any) -> None:
    name = agent_of(ran)
    assert {call["dialect"] for call in ran.events("model.called")} == {DIALECTS[name]}
    assert ran.events("agent.started")[0]["version"] == find_agent(name).version
    assert {call["status"] for call in ran.events("model.called")} == {200}


def test_nothing_a_cli_prints_is_unreadable_and_nothing_warns(ran: Any) -> None:
    assert [event for event in ran.events("agent.notice") if event["kind"] == "unreadable"] == []
    assert {event["level"] for event in ran.events("log")} <= {"debug", "info", "warning"}
    assert [message for message in ran.warnings if "gets its own default" not in message] == []


def test_session_files_come_home_and_configuration_does_not(ran: Any) -> None:
    collected = [event["path"] for event in ran.events("artifact.collected") if event["kind"] == "agent"]
    sessions = [path for path in collected if path.endswith(".jsonl")]
    assert any(TURNS[-1]["say"] in (ran.folder / path).read_text() for path in sessions)
    assert not [path for path in collected if b"\0" in (ran.folder / path).read_bytes()]
    assert not [path for path in collected if Path(path).name in ("settings.json", "config.toml", "config.yaml")]


@pytest.mark.parametrize("agent", AGENTS)
def test_every_cli_tells_a_refused_key_as_what_it_is(agent: str, runbook: Any) -> None:
    (runbook.cwd / "model.yaml").write_text(json.dumps([{"error": 401}] * 6))
    ran = runbook("run", EXAMPLE, "--agent", agent, "--model-script", "model.yaml", "--json")
    assert (ran.code, ran.json["status"]) == (4, "failed")
    (end,) = ran.events("agent.finished")
    assert end["error_kind"] == "authentication"
    assert "fails with 401" in end["error"]
    assert ran.events("agent.retried") == []


# --- secrets -------------------------------------------------------------------------------------------------------

KEYS = {
    name: f"canary-{name.lower()}-Zq7Xw41kD9"
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENROUTER_API_KEY")
}
DECLARED = "canary-declared-Hh2Pp55mN3"
LEAK = "( env; cat /proc/self/environ /proc/1/environ | tr '\\0' '\\n' ) 2>&1 | tee /app/results/leak.txt"
RUNBOOK = """\
---
secrets:
  SERVICE_API_TOKEN:
    env: SERVICE_API_TOKEN
---
# Leak — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/leak.txt` | Everything |

## Step 1: Leak

Print all you know.
"""


@pytest.fixture(scope="module", params=AGENTS)
def leaked(
    request: pytest.FixtureRequest, make_runbook: Callable[[], Any], eventually: Any
) -> tuple[Path, dict[str, bytes]]:
    command = make_runbook()
    (command.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    (command.cwd / "model.yaml").write_text(json.dumps([{"shell": LEAK}, {"say": "Done."}]))
    env = {**KEYS, "SERVICE_API_TOKEN": DECLARED}
    arguments = ("run", "RUNBOOK.md", "--trust", "--agent", request.param, "--model-script", "model.yaml", "--json")
    process = command.start(*arguments, env=env)
    seen = b""

    def has_ended() -> bool:
        nonlocal seen
        seen += subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True).stdout
        return process.poll() is not None

    eventually(has_ended, within=500, every=0.2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return Path(json.loads(out)["path"]), {"process list": seen, "stdout": out.encode(), "stderr": err.encode()}


def test_no_key_of_the_host_is_anywhere_in_a_run_that_prints_its_environment(leaked: Any) -> None:
    folder, seen = leaked
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()} | seen
    assert {"events.jsonl", "trajectory.json"} <= {Path(name).name for name in found}
    for name, data in found.items():
        text = zstandard.ZstdDecompressor().decompressobj().decompress(data) if name.endswith(".zst") else data
        assert [key for key in (*KEYS.values(), DECLARED) if key.encode() in text] == [], name


def test_the_agents_shell_has_the_declared_secret_and_no_key(leaked: Any) -> None:
    text = (leaked[0] / "results" / "leak.txt").read_text()
    assert "SERVICE_API_TOKEN=***REDACTED:SERVICE_API_TOKEN***" in text
    held = {line.partition("=")[0] for line in text.splitlines()} & set(KEYS)
    # Gemini CLI takes the run's own token from the variable of that name.
    assert held <= {"GEMINI_API_KEY"}
    assert all(f"{name}=***REDACTED:RUN_TOKEN***" in text for name in held)


@pytest.mark.parametrize("agent", AGENTS)
def test_every_cli_that_ran_nothing_but_failing_commands_gives_rise_to_doubt(
    runbook: Any, shell_runbook: Callable[[str], Path], agent: str
) -> None:
    document = shell_runbook("true") / "RUNBOOK.md"
    document.write_text(document.read_text().replace("| `/app/results/out.txt` | The output |\n", ""))
    script = runbook.cwd / "model.yaml"
    script.write_text("[{shell: exit 7}, {shell: nosuchcommand}, {say: Done.}]")
    ran = runbook("run", document, "--agent", agent, "--model-script", script, "--json", timeout=500)
    (note,) = ran.json["notes"]
    assert note.startswith("Each of the agent's 2 tool calls failed or was denied; the last error: ")
    assert "nosuchcommand" in note
