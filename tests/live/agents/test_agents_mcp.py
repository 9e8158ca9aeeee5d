"""A runbook's MCP servers reach every real CLI: a program in the sandbox, and two on this machine that speak HTTP and
SSE; each with a secret that the agent itself does not get."""

import fcntl
import hashlib
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

SERVER = Path(__file__).with_name("mcp_tally.py")
REMOTE = Path(__file__).with_name("mcp_remote.py")
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
  gone:
    command: /nonexistent/server
REMOTE---
# Tally — Agent Runbook

## Objective

Add 40 and 2.
"""
SIOCGIFADDR = 0x8915  # netdevice(7)

# What each CLI calls a tool of a server towards its model.
TOOLS = {
    "claude-code": "mcp__{server}__{tool}",
    "codex": "{tool}",
    "gemini-cli": "mcp_{server}_{tool}",
    "hermes": "mcp__{server}__{tool}",
    "opencode": "{server}_{tool}",
}

FIND = (
    "(find /app/.runbook -type f -size -100k -exec cat {} +; timeout 5 head -qc 100000 /proc/[0-9]*/fd/3) 2>/dev/null"
)
"""What the agent can read of its CLI's files; backwards in the results, because secrets are removed from those."""

pytestmark = [
    pytest.mark.needs("docker", "litellm"),  # which brings the SDK of the servers
    pytest.mark.xdist_group("agents-mcp"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def remote() -> Iterator[dict[str, str]]:
    """The addresses of two servers on this machine, as containers reach it."""
    host = bridge_address()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    commands = {kind: [sys.executable, str(REMOTE), host, kind, digest] for kind in ("http", "sse")}
    servers = {kind: subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for kind, line in commands.items()}
    paths = {"http": "mcp", "sse": "sse"}
    addresses = {}
    for kind, server in servers.items():
        assert server.stdout is not None
        addresses[kind] = f"http://{host}:{server.stdout.readline().strip()}/{paths[kind]}"
    yield addresses
    for server in servers.values():
        server.terminate()
        server.wait(20)


def bridge_address() -> str:
    """Of this machine, as containers see it. The interface says it: until its first restart an engine leaves it out of
    `docker network inspect`."""
    name = '{{index .Options "com.docker.network.bridge.name"}}'
    inspect = ["docker", "network", "inspect", "bridge", "--format", name]
    interface = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", interface.encode()))
    return socket.inet_ntoa(answer[20:24])  # netdevice(7): the name has 16 bytes, family and port 4


def document(addresses: dict[str, str]) -> str:
    lines = (f"  {kind}:\n    type: {kind}\n    url: {url}\n    secret: TALLY_KEY\n" for kind, url in addresses.items())
    return RUNBOOK.replace("REMOTE", "".join(lines))


@pytest.fixture(scope="module", params=TOOLS)
def tallied(request: pytest.FixtureRequest, make_runbook: Callable[[], Any], remote: dict[str, str]) -> Any:
    agent = request.param
    known = {kind: url for kind, url in remote.items() if (agent, kind) != ("codex", "sse")}
    command = make_runbook()
    (command.cwd / "RUNBOOK.md").write_text(document(known))
    tools = {"tally": "add", **{kind: f"add_by_{kind}" for kind in known}}
    named = [TOOLS[agent].format(server=server, tool=tool) for server, tool in tools.items()]
    turns = [
        *({"tool": {"name": name, "input": {"a": 40, "b": 2}}} for name in named),
        {"shell": f"env > /app/results/env.txt; {FIND} | rev > /app/results/found.txt"},
        {"say": "Done."},
    ]
    (command.cwd / "model.yaml").write_text(json.dumps(turns))
    # With a model of OpenAI's, Codex would offer the tool by a search at the provider only.
    arguments = ("--agent", agent, "--model", "claude-sonnet-4-6", "--model-script", "model.yaml")
    key = {"TALLY_KEY": KEY}
    ran = command("run", "RUNBOOK.md", "--trust", "-f", SERVER, *arguments, "--json", env=key, timeout=500)
    assert ran.code == 0, ran.err
    return ran


def test_the_agent_calls_each_servers_tool(tallied: Any) -> None:
    calls, answers = tallied.events("tool.called")[:-1], tallied.events("tool.returned")[:-1]
    assert {json.dumps(call["input"]) for call in calls} == {'{"a": 40, "b": 2}'}
    said = ["The sum is 42, with the key.", "The sum is 42, by http.", "The sum is 42, by sse."]
    assert [answer["output"] for answer in answers] == said[: len(calls)]
    assert len(calls) == (2 if tallied.events("agent.started")[0]["agent"] == "codex" else 3)


def test_a_server_that_is_not_there_is_named_and_the_others_are_not(tallied: Any) -> None:
    doubts = [event["message"] for event in tallied.events("log") if event["source"] == "doubt"]
    assert [doubt[: len("The MCP server gone gave the agent no tools")] for doubt in doubts] == [
        "The MCP server gone gave the agent no tools"
    ]
    assert json.loads(tallied.out)["notes"] == doubts


def test_codex_with_a_model_that_searches_its_tools_needs_its_servers(runbook: Any) -> None:
    """It would say nothing, and its requests are the same with the server and without."""
    (runbook.cwd / "RUNBOOK.md").write_text("---\nmcp_servers: {gone: {command: /nonexistent}}\n---\n# T\n\nWork.\n")
    (runbook.cwd / "model.yaml").write_text('[{"say": "Done."}]')
    ran = runbook("run", "RUNBOOK.md", "--agent", "codex", "--model-script", "model.yaml", "--json")
    assert ran.code == 4, ran.err
    assert "required MCP servers failed to initialize: gone" in ran.json["error"]
    assert [end["error_kind"] for end in ran.events("agent.finished")] == ["mcp_server"]
    assert ran.events("agent.retried") == []


def test_a_server_that_codex_can_not_speak_to_is_told_before_anything_starts(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(document({"sse": "http://127.0.0.1:9/sse"}))
    (runbook.cwd / "model.yaml").write_text('[{"say": "Done."}]')
    arguments = ("--agent", "codex", "--model-script", "model.yaml")
    ran = runbook("run", "RUNBOOK.md", "--trust", "-f", SERVER, *arguments, env={"TALLY_KEY": KEY})
    assert ran.code == 2
    assert "Codex can't use the MCP server sse: it does not speak SSE.\nUse the server's http address" in ran.err
    assert not list(runbook.cwd.rglob("events.jsonl"))


def test_claude_code_leaves_no_file_with_the_key(tallied: Any) -> None:
    if tallied.events("agent.started")[0]["agent"] != "claude-code":
        pytest.skip("the agent can read this CLI's configuration, as docs/security.md says")
    found = (tallied.folder / "results" / "found.txt").read_text(errors="replace")
    assert "claude"[::-1] in found
    assert KEY[::-1] not in found


def test_the_key_is_the_servers_alone_and_in_no_file(tallied: Any) -> None:
    assert "TALLY_KEY" not in (tallied.folder / "results" / "env.txt").read_text()
    spec = json.loads((tallied.folder / "spec.json").read_text())
    servers = ", ".join(server["name"] for server in spec["mcp_servers"] if server["secret"])
    told = [event["message"] for event in tallied.events("log")]
    assert any(f"TALLY_KEY goes to the MCP server {servers} only" in message for message in told)
    for path in tallied.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            whole = zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data
            assert KEY.encode() not in whole, path
    assert json.loads((tallied.folder / "spec.json").read_text())["mcp_servers"][0]["secret"] == "TALLY_KEY"
