"""Gateway: OpenAI chat completions, which most other providers and local servers speak too.

Shapes: https://platform.openai.com/docs/api-reference/chat and the types of the `openai` package. Reasoning is in
`reasoning_content`, as DeepSeek, vLLM and others name it; OpenRouter says `reasoning`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from runbook_runner.core.events import Stop, Usage
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import (
    MAX_MODEL_CHARS,
    NOTHING,
    Ask,
    Call,
    Delta,
    Json,
    Operation,
    Reading,
    Reply,
    Tool,
    readable,
)
from runbook_runner.gateway.dialects.bodies import backwards, document, error_message, items, part
from runbook_runner.gateway.dialects.openai_shapes import CREATED, error_body, told_usage, usage_of

_PATHS: Final[Mapping[str, Operation]] = {"/v1/chat/completions": "generate"}
_IDENTITY: Final = ("messages", "tools")
_TEXT_KEYS: Final = ("content", "reasoning_content", "reasoning", "refusal")
_USAGE: Final = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
_STOPS: Final[Mapping[str, Stop]] = {"length": "length", "content_filter": "refusal"}
_DONE: Final = b"data: [DONE]\n\n"


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    name = "openai-chat"

    def operation(self, method: str, path: str) -> Operation | None:
        return _PATHS.get(path.rstrip("/")) if method == "POST" else None

    def ask(self, path: str, body: Json) -> Ask:
        return Ask(
            model=readable(body.get("model") or "", MAX_MODEL_CHARS),
            stream=body.get("stream") is True,
            tools=tuple(_tools(items(body, "tools"))),
            identity={key: body.get(key) for key in _IDENTITY},
            conversation=tuple(items(body, "messages")),
            stream_usage=part(body, "stream_options").get("include_usage") is True,
        )

    def error(self, status: int, message: str) -> Json:
        return error_body(status, message)

    def reading(self, body: bytes) -> Reading:
        data = document(body)
        if not isinstance(data, dict):
            return NOTHING
        usage = usage_of(part(data, "usage"), _USAGE) if items(data, "choices") else Usage()
        return Reading(usage, error_message(data), complete=True, tier=_tier(data), stop=_stop(data, "message"))

    def heard(self, so_far: Reading, event: Json) -> Reading:
        """Usage is in a chunk of its own after the last choice, when the client asked for it; the end is `[DONE]`."""
        if event is sse.DONE:
            return replace(so_far, complete=True)
        if any(isinstance(choice, dict) and choice.get("finish_reason") for choice in items(event, "choices")):
            so_far = replace(so_far, may_end=True)
        usage, error = so_far.usage, _error(event)
        if part(event, "usage"):
            usage = usage_of(part(event, "usage"), _USAGE)
        elif items(event, "choices") and not usage.api_calls:
            usage = Usage(api_calls=1)
        said = (usage, error or so_far.error, _tier(event) or so_far.tier, _stop(event, "delta") or so_far.stop)
        if said == (so_far.usage, so_far.error, so_far.tier, so_far.stop):
            return so_far
        usage, error, tier, stop = said
        complete = so_far.complete or error is not None
        return replace(so_far, usage=usage, error=error, complete=complete, tier=tier, stop=stop)

    def deltas(self, event: Json) -> Iterator[Delta]:
        for choice in items(event, "choices"):
            delta = part(choice, "delta")
            place = choice.get("index") if delta else None
            for key in _TEXT_KEYS:
                if isinstance(delta.get(key), str):
                    yield Delta(f"{place}.{key}", delta, key)
            for key, holder in _inner(delta):
                if isinstance(holder.get(key), str):
                    yield Delta(f"{place}.{key}", holder, key)
            for call in items(delta, "tool_calls"):
                for kind, key in (("function", "arguments"), ("custom", "input")):
                    if isinstance(part(call, kind).get(key), str):
                        yield Delta(f"{place}.call{call.get('index')}", call[kind], key)

    def render(self, reply: Reply, ask: Ask) -> list[bytes]:
        if ask.stream:
            return [*(sse.data(chunk) for chunk in _chunks(reply, ask)), _DONE]
        choice = {"index": 0, "message": _message(reply), "logprobs": None, "finish_reason": _finish_reason(reply)}
        usage = told_usage(reply.usage, _USAGE)
        return [json.dumps(_completion("chat.completion", reply, ask, [choice], usage=usage)).encode()]

    def count(self, tokens: int) -> Json:
        return {}


def _tools(tools: list[Any]) -> Iterator[Tool]:
    for tool in tools:
        for kind, key in (("function", "parameters"), ("custom", "format")):
            named = part(tool, kind)
            if isinstance(named.get("name"), str):
                yield Tool(named["name"], part(named, key) if kind == "function" else {}, freeform=kind == "custom")


def _inner(delta: Json) -> Iterator[tuple[str, Json]]:
    """Texts that are not in the delta itself: OpenRouter's details of reasoning, Mistral's pieces of content."""
    for key in ("reasoning_details", "content"):
        for piece in items(delta, key):
            if isinstance(piece, dict):
                yield from ((name, piece) for name in ("text", "summary"))
                yield from (("text", thought) for thought in items(piece, "thinking") if isinstance(thought, dict))


# --- reading -------------------------------------------------------------------------------------------------------


def _error(event: Json) -> str | None:
    """OpenRouter tells a provider's failure within the choice that it cut off."""
    return error_message(event) or next(filter(None, map(error_message, items(event, "choices"))), None)


def _tier(data: Json) -> str | None:
    tier = data.get("service_tier")
    return tier if isinstance(tier, str) else None


def _stop(data: Json, said: str) -> Stop | None:
    for choice in items(data, "choices")[:1]:
        if part(choice, said).get("refusal"):
            return "refusal"
        return _STOPS.get(str(choice.get("finish_reason"))) if isinstance(choice, dict) else None
    return None


# --- writing -------------------------------------------------------------------------------------------------------


def _chunks(reply: Reply, ask: Ask) -> Iterator[Json]:
    def chunk(delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _completion("chat.completion.chunk", reply, ask, [choice], **told)

    told: Json = {"usage": None} if ask.stream_usage else {}
    yield chunk({"role": "assistant", "content": ""})
    if reply.thinking is not None:
        yield chunk({"reasoning_content": reply.thinking})
    if reply.text is not None:
        yield chunk({"content": reply.text})
    for index, call in enumerate(reply.calls):
        yield chunk({"tool_calls": [{"index": index, **_call(call, empty=True)}]})
        key, value = ("custom", "input") if call.tool.freeform else ("function", "arguments")
        yield chunk({"tool_calls": [{"index": index, key: {value: _written(call)}}]})
    yield chunk({}, _finish_reason(reply))
    if ask.stream_usage:
        usage = told_usage(reply.usage, _USAGE)
        yield _completion("chat.completion.chunk", reply, ask, [], usage=usage)


def _completion(kind: str, reply: Reply, ask: Ask, choices: list[Json], **more: Any) -> Json:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": kind,
        "created": CREATED,
        "model": ask.model,
        "choices": choices,
        **more,
    }


def _message(reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.thinking is not None:
        message["reasoning_content"] = reply.thinking
    if reply.calls:
        message["tool_calls"] = [_call(call) for call in reply.calls]
    return message


def _call(call: Call, *, empty: bool = False) -> Json:
    kind, key = ("custom", "input") if call.tool.freeform else ("function", "arguments")
    written = "" if empty else _written(call)
    return {"id": f"call_{call.id}", "type": kind, kind: {"name": call.tool.name, key: written}}


def _written(call: Call) -> str:
    return call.text if call.tool.freeform else json.dumps(call.input, ensure_ascii=False)


def _finish_reason(reply: Reply) -> str:
    if reply.stop is not None:
        return backwards(_STOPS, reply.stop)
    return "tool_calls" if reply.calls else "stop"
