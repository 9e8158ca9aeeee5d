"""Gateway: the Anthropic Messages API.

Shapes: https://platform.claude.com/docs/en/api/messages and …/docs/en/build-with-claude/streaming.
"""

import base64
import hashlib
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
    Delta,
    Json,
    Operation,
    Reading,
    Reply,
    Tool,
    readable,
)
from runbook_runner.gateway.dialects.bodies import (
    backwards,
    document,
    error_message,
    items,
    number,
    part,
    told_cost,
)

_PATHS: Final[Mapping[str, Operation]] = {"/v1/messages": "generate", "/v1/messages/count_tokens": "count_tokens"}

_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

# A client that lost an answer asks again, perhaps without a stream or, as Claude Code 2.1.330 does, without some beta
# fields; that makes it no other question.
_IDENTITY: Final = ("system", "messages", "tools")

_TEXT_KEYS: Final = ("text", "partial_json", "thinking")

# The API's name of each kind of token → ours. `input_tokens` excludes both cache kinds.
_USAGE_KEYS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


# The API's stop reasons of an answer that is not whole.
_STOPS: Final[Mapping[str, Stop]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicMessages:
    """`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

    name = "anthropic"

    def operation(self, method: str, path: str) -> Operation | None:
        return _PATHS.get(path.rstrip("/")) if method == "POST" else None

    def ask(self, path: str, body: Json) -> Ask:
        return Ask(
            model=readable(body.get("model") or "", MAX_MODEL_CHARS),
            stream=body.get("stream") is True,
            tools=tuple(_tools(items(body, "tools"))),
            identity={key: body.get(key) for key in _IDENTITY},
            conversation=tuple(items(body, "messages")),
        )

    def error(self, status: int, message: str) -> Json:
        kind = _ERROR_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def reading(self, body: bytes) -> Reading:
        data = document(body)
        return _read_document(data) if isinstance(data, dict) else NOTHING

    def heard(self, so_far: Reading, event: Json) -> Reading:
        """`message_start` has the input's tokens, `message_delta` the totals so far of whatever it names."""
        kind = event.get("type")
        if kind == "message_start":
            return _told(part(part(event, "message"), "usage"), replace(so_far, usage=Usage(api_calls=1)))
        if kind == "message_delta":
            stop = _STOPS.get(str(part(event, "delta").get("stop_reason")))
            return _told(part(event, "usage"), replace(so_far, stop=stop))
        if kind == "error":
            return replace(so_far, error=_error(event), complete=True)
        return replace(so_far, complete=True) if kind == "message_stop" else so_far

    def deltas(self, event: Json) -> Iterator[Delta]:
        holder = part(event, "delta")
        if event.get("type") == "content_block_delta":
            for key in _TEXT_KEYS:
                if isinstance(holder.get(key), str):
                    yield Delta(f"{event.get('index')}.{key}", holder, key)

    def render(self, reply: Reply, ask: Ask) -> list[bytes]:
        if ask.stream:
            return list(_stream(reply, ask))
        whole = _message(
            reply, ask, content=_content(reply), stop_reason=_stop_reason(reply), usage=_usage(reply.usage)
        )
        return [json.dumps(whole).encode()]

    def count(self, tokens: int) -> Json:
        return {"input_tokens": tokens}


def _tools(tools: list[Any]) -> Iterator[Tool]:
    """Tools of the provider itself (web search …) have a name and a type but no schema."""
    for tool in tools:
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            schema = tool.get("input_schema")
            yield Tool(tool["name"], schema if isinstance(schema, dict) else {})


# --- reading -------------------------------------------------------------------------------------------------------


def _read_document(data: Json) -> Reading:
    answered = data.get("type") == "message"
    stop = _STOPS.get(str(data.get("stop_reason")))
    return _told(part(data, "usage"), Reading(Usage(api_calls=int(answered)), _error(data), complete=True, stop=stop))


def _told(told: Json, so_far: Reading) -> Reading:
    known = {ours: number(told, theirs) for theirs, ours in _USAGE_KEYS.items() if told.get(theirs) is not None}
    for extra in _other_iterations(told):
        for theirs, ours in _USAGE_KEYS.items():
            known[ours] = known.get(ours, getattr(so_far.usage, ours)) + number(extra, theirs)
    thought = number(part(told, "output_tokens_details"), "thinking_tokens")
    if thought:
        known["reasoning_tokens"] = thought
    kept = part(told, "cache_creation")
    searches = number(part(told, "server_tool_use"), "web_search_requests")
    return replace(
        so_far,
        searches=searches or so_far.searches,
        usage=so_far.usage.model_copy(update={**known, "cost_usd": told_cost(told) or so_far.usage.cost_usd}),
        long_cache_tokens=number(kept, "ephemeral_1h_input_tokens") if kept else so_far.long_cache_tokens,
        tier=_tier(told) or so_far.tier,
    )


def _other_iterations(told: Json) -> list[Json]:
    """What was spent beside the answer itself, as on a summary of the conversation: the totals leave that out."""
    return [item for item in items(told, "iterations") if isinstance(item, dict) and item.get("type") != "message"]


def _tier(told: Json) -> str | None:
    """What the price depends on: another model that was asked on the way, fast mode, inference bound to a country, the
    service tier."""
    others = (item.get("type") for item in _other_iterations(told) if item.get("type") != "compaction")
    speed = "fast" if told.get("speed") == "fast" else None
    found = (*others, speed, told.get("inference_geo"), told.get("service_tier"))
    known = (name for name in found if isinstance(name, str) and name not in ("", "global", "not_available"))
    return next(known, None)


def _error(data: Json) -> str | None:
    message = error_message(data)
    return message or ("error without a message" if data.get("type") == "error" else None)


# --- writing -------------------------------------------------------------------------------------------------------


def _stream(reply: Reply, ask: Ask) -> Iterator[bytes]:
    """The order of events and the fields of each are those of the real API; input tokens are known from the start."""
    usage = _usage(reply.usage)
    started = {**usage, "output_tokens": min(1, reply.usage.completion_tokens)}
    yield _event("message_start", message=_message(reply, ask, content=[], stop_reason=None, usage=started))
    for index, block in enumerate(_content(reply)):
        empty, deltas = _pieces(block)
        yield _event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield _event("ping")
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    yield _event("message_delta", delta={"stop_reason": _stop_reason(reply), "stop_sequence": None}, usage=usage)
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return sse.event(kind, {"type": kind, **fields})


def _pieces(block: Json) -> tuple[Json, list[Json]]:
    """A content block as it starts, and the deltas that fill it: each text in one."""
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [thought, signed]
    written = json.dumps(block["input"], ensure_ascii=False)
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": written}]


def _message(reply: Reply, ask: Ask, *, content: list[Json], stop_reason: str | None, usage: Json) -> Json:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _content(reply: Reply) -> list[Json]:
    content: list[Json] = []
    if reply.thinking is not None:
        signature = base64.b64encode(hashlib.sha256(reply.thinking.encode()).digest()).decode()
        content.append({"type": "thinking", "thinking": reply.thinking, "signature": signature})
    if reply.text is not None:
        content.append({"type": "text", "text": reply.text})
    calls = [{"type": "tool_use", "id": f"toolu_{c.id}", "name": c.tool.name, "input": c.input} for c in reply.calls]
    return content + calls


def _stop_reason(reply: Reply) -> str:
    if reply.stop is not None:
        return backwards(_STOPS, reply.stop)
    return "tool_use" if reply.calls else "end_turn"


def _usage(usage: Usage) -> Json:
    told: Json = {theirs: getattr(usage, ours) for theirs, ours in _USAGE_KEYS.items()}
    if usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told
