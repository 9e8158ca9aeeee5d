"""One model script drives every API: what its turns do, seen through each of them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from runbook_runner.gateway import load_script
from runbook_runner.sandbox.paths import app_rewriter

Scripted = Callable[[str], Any]
COMMAND = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


@dataclass(frozen=True)
class Client:
    """How a client of an API asks, and where it finds what it was told."""

    name: str
    path: str
    stream_path: str
    body: Callable[[list[str]], dict[str, Any]]
    calls: Callable[[Any], list[tuple[str, Any]]]
    text: Callable[[Any], str]
    thought: Callable[[Any], str]
    credential: Callable[[str], dict[str, str]]

    def ask(self, line: Any, *said: str, stream: bool = False) -> httpx.Response:
        body = self.body(list(said)) | ({"stream": True} if stream and self.name != "gemini" else {})
        headers = self.credential(line.session.token)
        return httpx.post(
            line.url + (self.stream_path if stream else self.path), json=body, headers=headers, timeout=60
        )


def blocks(message: Any, kind: str) -> list[Any]:
    return [block for block in message["content"] if block["type"] == kind]


def items(response: Any, kind: str) -> list[Any]:
    return [item for item in response["output"] if item["type"] == kind]


def parts(response: Any, key: str) -> list[Any]:
    return [part for part in response["candidates"][0]["content"]["parts"] if key in part]


CLIENTS = (
    Client(
        "anthropic",
        "/v1/messages",
        "/v1/messages",
        lambda said: {"model": "m", "messages": [{"role": "user", "content": text} for text in said],
                      "tools": [{"name": "Bash", "input_schema": COMMAND}, {"name": "Read", "input_schema": {}}]},
        lambda body: [(block["name"], block["input"]) for block in blocks(body, "tool_use")],
        lambda body: str(blocks(body, "text")[0]["text"]),
        lambda body: str(blocks(body, "thinking")[0]["thinking"]),
        lambda token: {"x-api-key": token},
    ),
    Client(
        "openai-responses",
        "/v1/responses",
        "/v1/responses",
        lambda said: {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}
                                              for text in said],
                      "tools": [{"type": "web_search"}, {"type": "function", "name": "shell", "parameters": COMMAND},
                                {"type": "namespace", "name": "mcp",
                                 "tools": [{"type": "function", "name": "Read", "parameters": {}}]}]},
        lambda body: [(call["name"], json.loads(call["arguments"])) for call in items(body, "function_call")],
        lambda body: str(items(body, "message")[0]["content"][0]["text"]),
        lambda body: str(items(body, "reasoning")[0]["summary"][0]["text"]),
        lambda token: {"authorization": f"Bearer {token}"},
    ),
    Client(
        "openai-chat",
        "/v1/chat/completions",
        "/v1/chat/completions",
        lambda said: {"model": "m", "messages": [{"role": "user", "content": text} for text in said],
                      "tools": [{"type": "function", "function": {"name": name, "parameters": COMMAND}}
                                for name in ("terminal", "Read")]},
        lambda body: [(call["function"]["name"], json.loads(call["function"]["arguments"]))
                      for call in body["choices"][0]["message"]["tool_calls"]],
        lambda body: str(body["choices"][0]["message"]["content"]),
        lambda body: str(body["choices"][0]["message"]["reasoning_content"]),
        lambda token: {"authorization": f"Bearer {token}"},
    ),
    Client(
        "gemini",
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        lambda said: {"contents": [{"role": "user", "parts": [{"text": text}]} for text in said],
                      "tools": [{"functionDeclarations": [{"name": "run_shell_command", "parameters": COMMAND},
                                                          {"name": "Read"}]}]},
        lambda body: [(part["functionCall"]["name"], part["functionCall"]["args"])
                      for part in parts(body, "functionCall")],
        lambda body: str(next(part["text"] for part in parts(body, "text") if not part.get("thought"))),
        lambda body: str(parts(body, "thought")[0]["text"]),
        lambda token: {"x-goog-api-key": token},
    ),
)  # fmt: skip

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


@every_client
def test_one_turn_may_think_speak_and_call_several_tools(scripted: Scripted, client: Client) -> None:
    line = scripted("- {think: Hm., say: Looking., shell: [ls, pwd], tools: [{name: Read, input: {path: a}}]}")
    body = client.ask(line, "go").json()
    assert client.thought(body) == "Hm."
    assert client.text(body) == "Looking."
    assert [value for _, value in client.calls(body)] == [{"command": "ls"}, {"command": "pwd"}, {"path": "a"}]
    assert client.calls(body)[2][0] == "Read"
    assert line.events[0].dialect == client.name


@every_client
def test_status_fails_the_call_and_the_next_attempt_gets_the_next_turn(scripted: Scripted, client: Client) -> None:
    line = scripted("- {error: 429, retry_after: 2}\n- {error: 529, message: Busy.}\n- say: At last.")
    first, second, third = (client.ask(line, "go") for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (429, 529, 200)
    assert first.headers["retry-after"] == "2"
    assert "retry-after" not in second.headers
    assert "turn 1 of the model script" in first.json()["error"]["message"]
    assert second.json()["error"]["message"] == "Busy."
    assert client.text(third.json()) == "At last."
    assert [event.status for event in line.events] == [429, 529, 200]
    assert line.session.failure is None


@every_client
@pytest.mark.parametrize("stream", [False, True])
def test_dropped_connection_breaks_off_in_the_middle(scripted: Scripted, client: Client, stream: bool) -> None:
    line = scripted("- error: drop\n- say: At last.")
    with pytest.raises(httpx.RemoteProtocolError):
        client.ask(line, "go", stream=stream)
    assert client.text(client.ask(line, "go").json()) == "At last."
    assert [event.status for event in line.events] == [0, 200]
    assert "line 1, drops the connection" in line.events[0].error


@every_client
def test_answer_can_be_late(scripted: Scripted, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("runbook_runner.gateway.script.script.asyncio", SimpleNamespace(sleep=sleep, Lock=asyncio.Lock))
    assert client.ask(scripted("- {say: one, delay: 300}"), "go").status_code == 200
    assert waited == [300]


@every_client
def test_expected_words_must_be_in_what_is_said_anew(scripted: Scripted, client: Client) -> None:
    line = scripted("- {say: one, expect: '^go$'}\n- {say: two, expect: '42 .ows'}\n\n- {say: three, expect: rows}")
    assert client.ask(line, "go").status_code == 200
    assert client.ask(line, "go", "42 rows").status_code == 200
    failed = client.ask(line, "go", "42 rows", "nothing\nnew")
    assert failed.status_code == 400
    message = failed.json()["error"]["message"]
    assert "turn 3 of the model script" in message
    assert "line 4, expects 'rows', but the request says: nothing\nnew" in message
    assert line.session.failure.kind == "script"


@every_client
def test_script_that_ended_says_so_in_the_apis_own_words(scripted: Scripted, client: Client) -> None:
    line = scripted("- say: one")
    client.ask(line, "go", stream=True)
    ended = client.ask(line, "go", "on", stream=True)
    assert ended.status_code == 400
    assert "ended after 1 turn, " in ended.json()["error"]["message"]


@every_client
def test_scripted_call_costs_nothing_unless_it_pretends_to(scripted: Scripted, client: Client) -> None:
    line = scripted("- {say: one, usage: {input: 9}}\n- {say: two, usage: {input: 9, output: 1, cost: 0.25}}")
    client.ask(line, "go")
    assert line.session.usage.cost_usd == 0.0
    client.ask(line, "go", "on")
    assert line.session.usage.cost_usd == 0.25
    assert line.session.usage.prompt_tokens == 18


def test_chat_stream_tells_its_tokens_only_when_asked(scripted: Scripted) -> None:
    line = scripted("- {say: one, usage: {input: 9}}\n- {say: two, usage: {input: 7}}")
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "a"}]}
    path = "/v1/chat/completions"
    assert "usage" not in line.post(path, **body).text
    body |= {"stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "b"}]}
    assert '"prompt_tokens":7' in line.post(path, **body).text
    assert line.session.usage.prompt_tokens == 7


def test_freeform_tool_gets_plain_text(scripted: Scripted) -> None:
    line = scripted("- tool: {name: apply_patch, input: {patch: '*** Begin Patch'}}")
    tools = [{"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}}]
    (call,) = line.post("/v1/responses", model="m", input="go", tools=tools).json()["output"]
    assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "apply_patch", "*** Begin Patch")


def test_tool_in_a_namespace_is_called_with_it(scripted: Scripted) -> None:
    line = scripted("- tool: {name: Read}")
    (call,) = CLIENTS[1].ask(line, "go").json()["output"]
    assert (call["name"], call["namespace"]) == ("Read", "mcp")


def test_count_of_tokens_is_answered_in_each_api(scripted: Scripted) -> None:
    line = scripted("- say: one")
    assert line.post("/v1/responses/input_tokens", input="x" * 400).json()["input_tokens"] > 90
    assert line.post("/v1beta/models/m:countTokens", contents=[]).json()["totalTokens"] > 1
    assert line.session.usage.api_calls == 0


def test_gemini_key_in_the_address_opens_the_session_and_is_not_recorded(scripted: Scripted) -> None:
    line = scripted("- say: one")
    path = f"/v1beta/models/m:generateContent?key={line.session.token}&alt=json"
    assert httpx.post(line.url + path, json={"contents": []}).status_code == 200
    assert line.cassette.calls()[0].path == "/v1beta/models/m:generateContent?alt=json"


def test_a_script_writes_the_paths_of_its_sandbox(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "- say: Into /app/results.\n"
        "  shell: [cat /app/assets/a, ls /tmp/app /app]\n"
        "- tool: {name: write, input: {path: /app/work/x, lines: [/app, 1], options: {to: '/application'}}}\n"
    )
    first, second = load_script(tmp_path / "model.yaml").placed(app_rewriter("/work/here")).turns
    assert (first.say, first.commands) == ("Into /app/results.", ("cat /work/here/assets/a", "ls /tmp/app /work/here"))
    (tool,) = second.other_tools
    assert tool.input == {"path": "/work/here/work/x", "lines": ["/work/here", 1], "options": {"to": "/application"}}
