"""A runbook's MCP server reaches every real CLI, with a secret that the agent itself does not get."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

SERVER = Path(__file__).with_name("mcp_tally.py")
KEY = "canary-tally-Xw41kD9-key"
RUNBOOK = f"""\
---
secrets:
  TALLY_KEY:
    env: TALLY_KEY
mcp_servers:
  tally:
    command: python3
    args: [/app/assets/{SERVER.name}]
    env:
      KEY_DIGEST: {hashlib.sha256(KEY.encode()).hexdigest()}
    secret: TALLY_KEY
---
# Tally — Agent Runbook

## Objective

Add 40 and 2.
"""

# What each CLI calls the tool towards its model.
TOOLS = {
    "claude-code": "mcp__tally__add",
    "codex": "add",
    "gemini-cli": "mcp_tally_add",
    "hermes": "mcp__tally__add",
    "opencode": "tally_add",
}

pytestmark = [pytest.mark.needs("docker"), pytest.mark.xdist_group("docker-live"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=TOOLS)
def tallied(request: pytest.FixtureRequest, make_runbook: Callable[[], Any]) -> Any:
    command = make_runbook()
    (command.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    turns = [
        {"tool": {"name": TOOLS[request.param], "input": {"a": 40, "b": 2}}},
        {"shell": "env > /app/results/env.txt"},
        {"say": "Done."},
    ]
    (command.cwd / "model.yaml").write_text(json.dumps(turns))
    # With a model of OpenAI's, Codex would offer the tool by a search at the provider only.
    arguments = ("--agent", request.param, "--model", "claude-sonnet-4-6", "--model-script", "model.yaml")
    ran = command("run", "RUNBOOK.md", "-f", SERVER, *arguments, "--json", env={"TALLY_KEY": KEY}, timeout=500)
    assert ran.code == 0, ran.err
    return ran


def test_the_agent_calls_the_servers_tool(tallied: Any) -> None:
    call, answer = tallied.events("tool.called")[0], tallied.events("tool.returned")[0]
    assert call["name"].endswith("add")
    assert call["input"] == {"a": 40, "b": 2}
    assert answer["output"] == "The sum is 42, with the key."


def test_the_key_is_the_servers_alone_and_in_no_file(tallied: Any) -> None:
    assert "TALLY_KEY" not in (tallied.folder / "results" / "env.txt").read_text()
    assert any("TALLY_KEY goes to the MCP server tally only" in event["message"] for event in tallied.events("log"))
    for path in tallied.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            whole = zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data
            assert KEY.encode() not in whole, path
    assert json.loads((tallied.folder / "spec.json").read_text())["mcp_servers"][0]["secret"] == "TALLY_KEY"
