"""Tool calls behind the translation: each result names its call in ids that the provider takes, and parallel calls stay
apart, however their pieces come."""

import json
import re
from typing import Any

import pytest

from runbook_runner.gateway.cassette.answers import read_answer

pytestmark = pytest.mark.needs("litellm")

DIALECTS = ("anthropic", "openai-responses", "openai-chat", "gemini")
NATIVE = {"anthropic": ("anthropic",), "openai": ("openai-responses", "openai-chat"), "google": ("gemini",),
          "lm_studio": ("openai-chat",)}  # fmt: skip
PAIRS = [(name, dialect) for name, native in NATIVE.items() for dialect in DIALECTS if dialect not in native]
TRANSLATED = pytest.mark.parametrize(("name", "dialect"), PAIRS)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def anthropic_history(ids: list[str]) -> list[dict[str, Any]]:
    calls = [{"type": "tool_use", "id": id_, "name": "run", "input": {"n": n}} for n, id_ in enumerate(ids)]
    results = [{"type": "tool_result", "tool_use_id": id_, "content": f"result {n}"} for n, id_ in enumerate(ids)]
    return [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]


def responses_history(ids: list[str]) -> list[dict[str, Any]]:
    called = [{"id": f"fc_{n}", "call_id": id_, "name": "run", "arguments": json.dumps({"n": n})}
              for n, id_ in enumerate(ids)]  # fmt: skip
    calls = [{"type": "function_call", **call} for call in called]
    results = [{"type": "function_call_output", "call_id": id_, "output": f"result {n}"} for n, id_ in enumerate(ids)]
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}
    return [said, *calls, *results]


def chat_history(ids: list[str]) -> list[dict[str, Any]]:
    calls = [{"id": id_, "type": "function", "function": {"name": "run", "arguments": json.dumps({"n": n})}}
             for n, id_ in enumerate(ids)]  # fmt: skip
    results = [{"role": "tool", "tool_call_id": id_, "content": f"result {n}"} for n, id_ in enumerate(ids)]
    return [{"role": "user", "content": "go"}, {"role": "assistant", "content": None, "tool_calls": calls}, *results]


def gemini_history(ids: list[str]) -> list[dict[str, Any]]:
    named = [{"id": id_} if id_ else {} for id_ in ids]
    calls = [{"functionCall": {**own, "name": "run", "args": {"n": n}}} for n, own in enumerate(named)]
    results = [{"functionResponse": {**own, "name": "run", "response": {"output": f"result {n}"}}}
               for n, own in enumerate(named)]  # fmt: skip
    thought = {"text": "Hm.", "thought": True}
    return [{"role": "user", "parts": [{"text": "go"}]}, {"role": "model", "parts": [thought, *calls]},
            {"role": "user", "parts": [{"text": "and now"}, *results]}]  # fmt: skip


HISTORIES = {
    "anthropic": lambda ids: {"messages": anthropic_history(ids)},
    "openai-responses": lambda ids: {"input": responses_history(ids)},
    "openai-chat": lambda ids: {"messages": chat_history(ids)},
    "gemini": lambda ids: {"contents": gemini_history(ids)},
}


def sent_calls(body: dict[str, Any]) -> list[tuple[str, str]]:
    """What a provider got, in its order: (id, which call) and (id, which result)."""
    found: list[tuple[str, str]] = []
    for message in body.get("messages", []):
        for block in message["content"] if isinstance(message.get("content"), list) else []:
            if block["type"] == "tool_use":
                found.append((block["id"], f"call {block['input']['n']}"))
            elif block["type"] == "tool_result":
                found.append((block["tool_use_id"], re.findall(r"result \d", json.dumps(block))[0]))
            else:
                found.append(("", "text"))
        for call in message.get("tool_calls") or []:
            found.append((call["id"], f"call {json.loads(call['function']['arguments'])['n']}"))
        if message["role"] == "tool":
            found.append((message["tool_call_id"], re.findall(r"result \d", json.dumps(message))[0]))
        elif isinstance(message.get("content"), str):
            found.append(("", "text"))
    for item in body.get("input", []):
        if item["type"] == "function_call":
            found.append((item["call_id"], f"call {json.loads(item['arguments'])['n']}"))
        elif item["type"] == "function_call_output":
            found.append((item["call_id"], re.findall(r"result \d", json.dumps(item))[0]))
    for number, piece in enumerate(piece for content in body.get("contents", []) for piece in content["parts"]):
        if call := piece.get("function_call"):
            found.append((f"call{number:05}", f"call {call['args']['n']}"))
        elif result := piece.get("function_response"):
            found.append((f"call{number - 2:05}", re.findall(r"result \d", json.dumps(result))[0]))
    return found


@TRANSLATED
@pytest.mark.parametrize("ids", [("a" * 69, "functions.bash:0|fc_1"), ("", ""), ("same", "same")])
def test_each_result_names_its_call_in_ids_that_every_provider_takes(
    provider: Any, translated: Any, name: str, dialect: str, ids: tuple[str, ...]
) -> None:
    fake = provider({"error": {"message": "enough"}}, 400)
    line = translated(name, fake, dialect)
    for _ in range(2):
        line.go(**HISTORIES[dialect](list(ids)))
    calls = [pair for pair in sent_calls(fake.sent) if pair[1] != "text"]
    assert [what for _, what in calls] == ["call 0", "call 1", "result 0", "result 1"]
    first, second, *results = (id_ for id_, _ in calls)
    assert (first != second, results) == (True, [first, second])
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", id_) for id_, _ in calls), calls
    assert fake.requests[0][1] == fake.requests[1][1], "the same question is asked in the same words"


@pytest.mark.parametrize("name", ["anthropic", "lm_studio"])
def test_results_of_tools_come_before_what_was_said_with_them(provider: Any, translated: Any, name: str) -> None:
    fake = provider({"error": {"message": "enough"}}, 400)
    system = {"role": "user", "parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    translated(name, fake, "gemini").go(systemInstruction=system, contents=gemini_history(["a", "b"]))
    *_, call, result, other, said = (what for _, what in sent_calls(fake.sent))
    assert (call, result, other, said) == ("call 1", "result 0", "result 1", "text")
    assert "Hm." not in json.dumps(fake.sent), "a thought is not what the model said"
    assert r"Be brief.\n\nBe kind." in json.dumps(fake.sent)


def chunks(index: str, ids: str, *, pieces: bool) -> bytes:
    """Three calls of one tool, as chat servers stream them."""
    said = []
    for n in range(3):
        at = {} if index == "none" else {"index": 0 if index == "zero" else n}
        own = {"id": {"own": f"call_{n}", "same": "call_0", "none": ""}[ids]} if ids != "absent" else {}
        written = json.dumps({"n": n})
        said.append(
            {**at, **own, "type": "function", "function": {"name": "run", "arguments": "" if pieces else written}}
        )
        said += [{**at, "function": {"arguments": part}} for part in (written[:4], written[4:]) if pieces]
    deltas = [({"tool_calls": [call]}, None) for call in said] + [({}, "tool_calls")]
    choices = [{"index": 0, "delta": delta, "finish_reason": finish} for delta, finish in deltas]
    events = [{"id": "c", "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


@pytest.mark.parametrize("dialect", ["anthropic", "openai-responses", "gemini"])
@pytest.mark.parametrize(("index", "ids", "pieces"), [
    ("own", "own", True), ("zero", "own", True), ("zero", "own", False), ("none", "own", True), ("none", "own", False),
    ("zero", "none", True), ("none", "absent", False), ("own", "same", True),
])  # fmt: skip
def test_parallel_calls_stay_apart(
    provider: Any, translated: Any, dialect: str, index: str, ids: str, pieces: bool
) -> None:
    line = translated("lm_studio", provider(chunks(index, ids, pieces=pieces)), dialect)
    seen: list[str] = []
    for _ in range(2):
        answer = line.go().text
        assert read_answer(dialect, answer).calls == tuple(("run", {"n": n}) for n in range(3)), answer
        seen += dict.fromkeys(re.findall(r'"(?:call_)?id": ?"(call\d{5})"', answer))
    assert seen == [f"call{n:05}" for n in range(1, 7)], "no two calls of a session have the same id"


@pytest.mark.parametrize("dialect", ["anthropic", "openai-responses", "gemini"])
def test_a_call_may_have_its_arguments_before_its_name(provider: Any, translated: Any, dialect: str) -> None:
    said = [{"index": 0, "id": "x", "type": "function", "function": {"arguments": '{"n":'}},
            {"index": 0, "function": {"arguments": "1"}}, {"index": 0, "function": {"name": "run", "arguments": "}"}},
            {"index": 1, "id": "y", "type": "function", "function": {"name": "run", "arguments": "{}"}}]  # fmt: skip
    deltas = [({"tool_calls": [call]}, None) for call in said] + [({}, "tool_calls")]
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in deltas]
    stream = "".join(f"data: {json.dumps({'id': 'c', **event})}\n\n" for event in events).encode()
    answer = translated("lm_studio", provider(stream + b"data: [DONE]\n\n"), dialect).go().text
    assert read_answer(dialect, answer).calls == (("run", {"n": 1}), ("run", {}))


@pytest.mark.parametrize("dialect", ["anthropic", "openai-responses", "openai-chat"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_call_of_gemini_keeps_its_signature_on_this_side(
    provider: Any, translated: Any, dialect: str, stream: bool
) -> None:
    call = {"functionCall": {"name": "run", "args": {"n": 0}}, "thoughtSignature": "U0lHTkVE"}
    content = {"role": "model", "parts": [call, {"functionCall": {"name": "run", "args": {"n": 1}}}]}
    whole = {"candidates": [{"content": content, "index": 0, "finishReason": "STOP"}]}
    fake = provider(f"data: {json.dumps(whole)}\n\n".encode() if stream else whole)
    line = translated("google", fake, dialect)
    answer = line.go(stream=stream)
    assert "call00001" in answer.text
    line.go(**HISTORIES[dialect](["call00001", "call00002"]))
    parts = [piece for content in fake.sent["contents"] for piece in content["parts"] if "function_call" in piece]
    assert [piece.get("thoughtSignature") for piece in parts][:1] == ["U0lHTkVE"]


def test_images_of_results_come_where_a_chat_server_takes_them(provider: Any, translated: Any) -> None:
    fake = provider({"error": {"message": "enough"}}, 400)
    history = anthropic_history(["a", "b"])
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    history[-1]["content"][0]["content"] = [{"type": "text", "text": "result 0"}, {"type": "image", "source": source}]
    translated("lm_studio", fake, "anthropic").go(messages=history)
    assert [message["role"] for message in fake.sent["messages"]] == ["user", "assistant", "tool", "tool", "user"]
    assert PNG in json.dumps(fake.sent["messages"][-1])
