"""An agent that ended well may have had no model or no tools: the record, the summary and `--json` say so."""

import json
from typing import Any

import pytest

AGENT = """\
argv = ["python3", "-c", '''
import json, os, urllib.request
def ask(*tools):
    offered = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in tools]
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": offered}
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}
    url = os.environ["URL"] + "/v1/chat/completions"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).read()
def tool(failed):
    print(json.dumps({"type": "call", "id": "1", "name": "read"}))
    print(json.dumps({"type": "result", "id": "1", "output": "x\\n" * 1000 + "it is not\\nallowed", "failed": failed}))
DO
''']
dialect = "openai-chat"
[env]
URL = "{gateway_url}"
TOKEN = "{token}"
[events]
format = "jsonl"
records = [
    {when = "call", is = "tool_call", id = "id", name = "name"},
    {when = "result", is = "tool_result", id = "id", output = "output", is_error = "failed"},
]
"""
RUNBOOK = """\
---
agent: doubtful
model: m
mcp_servers:
  my-Shop: {command: shop}
---
# Doubt — Agent Runbook

## Objective

Try it.
"""
NO_TOOLS = "The MCP server my-Shop gave the agent no tools"


@pytest.mark.parametrize(
    ("does", "doubts"),
    [
        ("", ["The agent ended without a call of its model."]),
        ("ask('read', 'list_my_shops')", [NO_TOOLS]),
        ("ask('read'); ask('mcp__my_Shop__buy')", []),
        ("ask('tool_search')", []),  # the model finds the others by it
        (
            "ask('my-Shop_buy'); tool(True)",
            ["The agent's only tool call failed or was denied; the last error: … " + "x " * 91 + "it is not allowed"],
        ),
        ("ask('my-Shop_buy'); tool(True); tool(False)", []),
    ],
    ids=["no call", "no tools", "offered later", "searched", "denied", "one of two"],
)
def test_what_a_good_end_may_hide_is_told(runbook: Any, does: str, doubts: list[str]) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    agents = runbook.cwd / ".runbook" / "agents"
    agents.mkdir(parents=True)
    (agents / "doubtful.toml").write_text(AGENT.replace("DO", does))
    (runbook.cwd / "model.yaml").write_text("[{say: Done.}, {say: Done.}]")
    ran = runbook("run", "RUNBOOK.md", "--trust", "--sandbox", "host", "--model-script", "model.yaml", "--json")
    notes = json.loads(ran.out)["notes"]
    assert [note[: len(doubt)] for note, doubt in zip(notes, doubts, strict=True)] == doubts
    assert [event["message"] for event in ran.events("log") if event["source"] == "doubt"] == notes
    assert ran.code == 0
    assert [ran.err.count(f"! {note}") for note in notes] == [2] * len(doubts)  # as it happens, and in the summary


@pytest.mark.needs("bubblewrap")
def test_hosts_that_an_allow_list_refused_are_named_and_counted(runbook: Any, shell_runbook: Any) -> None:
    ask = "for host in one.example one.example 1.example 2.example 3.example 4.example 5.example; do"
    document = shell_runbook(f"{ask} curl -s http://$host/; done; echo x > /app/results/out.txt")
    ran = runbook("run", document, "--sandbox", "bubblewrap", "--allow-host", "example.org", "--json")
    assert ran.code == 0, ran.err
    (note,) = ran.json["notes"]
    assert note.startswith("The allow-list refused one.example:80 (2 times), 1.example:80 (1 time), ")
    assert note.endswith(", 1 more host: `--allow-host HOST` allows one.")
    assert f"! {note}" in ran.err


def test_what_is_doubtful_before_a_run_is_repeated_at_its_end(runbook: Any, shell_runbook: Any) -> None:
    document = shell_runbook("echo '{{titel}}' > /app/results/out.txt") / "RUNBOOK.md"
    ran = runbook("run", document, "--sandbox", "host", "--json")
    (note,) = ran.json["notes"]  # and not that the host isolates nothing
    assert "titel" in note
    assert [event["source"] for event in ran.events("log") if event["message"] == note] == ["doubt"]
    assert ran.err.count(f"! {note}") == 2


def test_a_line_that_is_too_long_is_cut_and_the_record_says_so(runbook: Any) -> None:
    """What is left of it is no JSON any more, so no message of the agent has a hole that nobody sees."""
    (runbook.cwd / "RUNBOOK.md").write_text("---\nagent: mine\n---\n# Long\n\n## Objective\n\nTry it.\n")
    agents = runbook.cwd / ".runbook" / "agents"
    agents.mkdir(parents=True)
    line = "import json; [print(json.dumps({'type': 'a', 't': t})) for t in ('x' * 17_000_000, 'after')]"
    rule = '{when = "a", is = "message", text = "t"}'
    (agents / "mine.toml").write_text(
        f'argv = ["python3", "-c", "{line}"]\n[events]\nformat = "jsonl"\nrecords = [{rule}]\n'
    )
    ran = runbook("run", ".", "--trust", "--sandbox", "host", "--json")
    assert [event["text"] for event in ran.events("agent.message")] == ["after"]
    cut = len(json.dumps({"type": "a", "t": ""})) + 17_000_000 - (16 << 20)
    said = f"A line on the agent's stdout was cut after 16,777,216 bytes; it had {cut:,} more."
    assert said in [event["message"] for event in ran.events("log")]
