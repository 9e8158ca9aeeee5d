"""Gateway: the Anthropic Messages API.

Shapes: https://platform.claude.com/docs/en/api/messages and …/docs/en/build-with-claude/streaming.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runbook_runner.events import Usage
from runbook_runner.gateway import sse
from runbook_runner.gateway.dialects.base import Ask, Delta, Json, Operation, Reading, Reply, Tool, readable

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

MAX_MODEL_CHARS: Final = 200

_TEXT_KEYS: Final = ("text", "partial_json", "thinking")

# The API's name of each kind of token → ours. `input_tokens` excludes both cache kinds.
_USAGE_KEYS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


class AnthropicMessages:
    """`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

    name = "anthropic"

    def operation(self, method: str, path: str) -> Operation | None:
        return _PATHS.get(path.rstrip("/")) if method == "POST" else None

    def ask(self, path: str, body: Json) -> Ask:
        tools = body.get("tools")
        return Ask(
            model=readable(body.get("model") or "", MAX_MODEL_CHARS),
            stream=body.get("stream") is True,
            tools=tuple(_tools(tools if isinstance(tools, list) else [])),
            identity={key: body.get(key) for key in _IDENTITY},
        )

    def error(self, status: int, message: str) -> Json:
        kind = _ERROR_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def reading(self, stream: bool, body: bytes) -> Reading:
        text = body.decode("utf-8", "replace")
        return _read_stream(sse.objects(text)) if stream else _read_document(text)

    def delta(self, event: Json) -> Delta | None:
        holder = event.get("delta")
        if event.get("type") != "content_block_delta" or not isinstance(holder, dict):
            return None
        for key in _TEXT_KEYS:
            if isinstance(holder.get(key), str):
                return Delta(f"{event.get('index')}.{key}", holder, key)
        return None

    def render(self, reply: Reply, stream: bool) -> list[bytes]:
        if stream:
            return list(_stream(reply))
        message = _message(reply, content=_content(reply), stop_reason=_stop_reason(reply), usage=_usage(reply.usage))
        return [json.dumps(message).encode()]

    def count(self, tokens: int) -> Json:
        return {"input_tokens": tokens}


def _tools(tools: list[Any]) -> Iterator[Tool]:
    """Tools of the provider itself (web search …) have a name and a type but no schema."""
    for tool in tools:
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            schema = tool.get("input_schema")
            yield Tool(tool["name"], schema if isinstance(schema, dict) else {})


# --- reading -------------------------------------------------------------------------------------------------------


def _read_document(text: str) -> Reading:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return Reading(Usage(), error=None, complete=True)
    if not isinstance(data, dict):
        return Reading(Usage(), error=None, complete=True)
    answered = data.get("type") == "message"
    return Reading(_tokens(data.get("usage"), Usage(api_calls=int(answered))), _error(data), complete=True)


def _read_stream(events: Iterator[Json]) -> Reading:
    """`message_start` has the input's tokens, `message_delta` the totals so far of whatever it names."""
    usage, error, complete = Usage(), None, False
    for event in events:
        kind = event.get("type")
        if kind == "message_start":
            usage = _tokens(_part(event, "message").get("usage"), Usage(api_calls=1))
        elif kind == "message_delta":
            usage = _tokens(event.get("usage"), usage)
        elif kind == "error":
            error = _error(event)
        complete = complete or kind in ("message_stop", "error")
    return Reading(usage, error, complete)


def _tokens(reported: Any, so_far: Usage) -> Usage:
    if not isinstance(reported, dict):
        return so_far
    known = {ours: reported[theirs] for theirs, ours in _USAGE_KEYS.items() if type(reported.get(theirs)) is int}
    return so_far.model_copy(update=known)


def _error(data: Json) -> str | None:
    if data.get("type") != "error" and "error" not in data:
        return None
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "error without a message")


def _part(data: Json, key: str) -> Json:
    part = data.get(key)
    return part if isinstance(part, dict) else {}


# --- writing -------------------------------------------------------------------------------------------------------


def _stream(reply: Reply) -> Iterator[bytes]:
    """The order of events and the fields of each are those of the real API; input tokens are known from the start."""
    usage = _usage(reply.usage)
    started = {**usage, "output_tokens": min(1, reply.usage.completion_tokens)}
    yield _event("message_start", message=_message(reply, content=[], stop_reason=None, usage=started))
    for index, block in enumerate(_content(reply)):
        empty, delta = _pieces(block)
        yield _event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield _event("ping")
        yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    yield _event("message_delta", delta={"stop_reason": _stop_reason(reply), "stop_sequence": None}, usage=usage)
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return sse.event(kind, {"type": kind, **fields})


def _pieces(block: Json) -> tuple[Json, Json]:
    """A content block as it starts, and the one delta that fills it."""
    if block["type"] == "text":
        return {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    written = json.dumps(block["input"], ensure_ascii=False)
    return {**block, "input": {}}, {"type": "input_json_delta", "partial_json": written}


def _message(reply: Reply, *, content: list[Json], stop_reason: str | None, usage: Json) -> Json:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _content(reply: Reply) -> list[Json]:
    text = [{"type": "text", "text": reply.text}] if reply.text is not None else []
    call = reply.call
    tool_use = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}] if call else []
    return text + tool_use


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if reply.call else "end_turn"


def _usage(usage: Usage) -> Json:
    return {theirs: getattr(usage, ours) for theirs, ours in _USAGE_KEYS.items()}
