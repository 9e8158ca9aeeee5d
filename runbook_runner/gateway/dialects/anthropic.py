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
    NOT_AN_ANSWER,
    Delta,
    Json,
    Operation,
    ParsedRequest,
    ParsedResponse,
    Reply,
    Tool,
)
from runbook_runner.gateway.dialects.bodies import (
    api_stop,
    document,
    error_message,
    items,
    number,
    parsed_request,
    part,
    reported_cost,
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
# fields; it is still the same question.
_IDENTITY: Final = ("system", "messages", "tools")

_TEXT_KEYS: Final = ("text", "partial_json", "thinking")

# The API's name of each kind of token → the field of `Usage`. `input_tokens` excludes both cache kinds.
_USAGE_KEYS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}

# The API's stop reasons of an answer that is not complete.
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

    def parse_request(self, path: str, body: Json) -> ParsedRequest:
        return parsed_request(body, _tools(items(body, "tools")), _IDENTITY, items(body, "messages"))

    def error(self, status: int, message: str) -> Json:
        kind = _ERROR_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def stream_error(self, status: int, message: str) -> bytes:
        return sse.event("error", self.error(status, message))

    ping = sse.event("ping", {"type": "ping"})

    def parse_response(self, body: bytes) -> ParsedResponse:
        data = document(body)
        return _read_document(data) if isinstance(data, dict) else NOT_AN_ANSWER

    def add_event(self, response: ParsedResponse, event: Json) -> ParsedResponse:
        """`message_start` has the input's tokens, `message_delta` the totals so far of the kinds that it names."""
        kind = event.get("type")
        if kind == "message_start":
            return _with_usage(replace(response, usage=Usage(api_calls=1)), part(part(event, "message"), "usage"))
        if kind == "message_delta":
            stop = _STOPS.get(str(part(event, "delta").get("stop_reason")))
            return _with_usage(replace(response, stop=stop), part(event, "usage"))
        if kind == "error":
            return replace(response, error=_error(event), complete=True)
        return replace(response, complete=True) if kind == "message_stop" else response

    def deltas(self, event: Json) -> Iterator[Delta]:
        holder = part(event, "delta")
        if event.get("type") == "content_block_delta":
            for key in _TEXT_KEYS:
                if isinstance(holder.get(key), str):
                    yield Delta(f"{event.get('index')}.{key}", holder, key)

    def render(self, reply: Reply, request: ParsedRequest) -> list[bytes]:
        if request.stream:
            return list(_stream(reply, request))
        whole = _message(
            reply, request, content=_content(reply), stop_reason=_stop_reason(reply), usage=_usage(reply.usage)
        )
        return [json.dumps(whole).encode()]

    def token_count(self, tokens: int) -> Json:
        return {"input_tokens": tokens}


def _tools(tools: list[Any]) -> Iterator[Tool]:
    """Tools of the provider itself (web search …) have a name and a type but no schema."""
    for tool in tools:
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            schema = tool.get("input_schema")
            yield Tool(tool["name"], schema if isinstance(schema, dict) else {})


# --- reading -------------------------------------------------------------------------------------------------------


def _read_document(data: Json) -> ParsedResponse:
    answered = data.get("type") == "message"
    stop = _STOPS.get(str(data.get("stop_reason")))
    response = ParsedResponse(Usage(api_calls=int(answered)), _error(data), complete=True, stop=stop)
    return _with_usage(response, part(data, "usage"))


def _with_usage(response: ParsedResponse, usage: Json) -> ParsedResponse:
    known = {kind: number(usage, name) for name, kind in _USAGE_KEYS.items() if usage.get(name) is not None}
    for extra in _other_iterations(usage):
        for name, kind in _USAGE_KEYS.items():
            known[kind] = known.get(kind, getattr(response.usage, kind)) + number(extra, name)
    reasoning = number(part(usage, "output_tokens_details"), "thinking_tokens")
    if reasoning:
        known["reasoning_tokens"] = reasoning
    written = part(usage, "cache_creation")
    searches = number(part(usage, "server_tool_use"), "web_search_requests")
    cost = reported_cost(usage) or response.usage.cost_usd
    return replace(
        response,
        searches=searches or response.searches,
        usage=response.usage.model_copy(update={**known, "cost_usd": cost}),
        long_cache_tokens=number(written, "ephemeral_1h_input_tokens") if written else response.long_cache_tokens,
        tier=_tier(usage) or response.tier,
    )


def _other_iterations(usage: Json) -> list[Json]:
    """What was spent beside the answer itself, as on a summary of the conversation; the totals leave it out."""
    return [item for item in items(usage, "iterations") if isinstance(item, dict) and item.get("type") != "message"]


def _tier(usage: Json) -> str | None:
    """What the price depends on: another model that was asked on the way, fast mode, inference bound to a country, the
    service tier."""
    others = (item.get("type") for item in _other_iterations(usage) if item.get("type") != "compaction")
    speed = "fast" if usage.get("speed") == "fast" else None
    found = (*others, speed, usage.get("inference_geo"), usage.get("service_tier"))
    known = (name for name in found if isinstance(name, str) and name not in ("", "global", "not_available"))
    return next(known, None)


def _error(data: Json) -> str | None:
    message = error_message(data)
    return message or ("error without a message" if data.get("type") == "error" else None)


# --- writing -------------------------------------------------------------------------------------------------------


def _stream(reply: Reply, request: ParsedRequest) -> Iterator[bytes]:
    """The order of events and the fields of each are those of the real API; input tokens are known from the start."""
    usage = _usage(reply.usage)
    started = {**usage, "output_tokens": min(1, reply.usage.completion_tokens)}
    yield _event("message_start", message=_message(reply, request, content=[], stop_reason=None, usage=started))
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


def _message(
    reply: Reply, request: ParsedRequest, *, content: list[Json], stop_reason: str | None, usage: Json
) -> Json:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
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
        return api_stop(_STOPS, reply.stop)
    return "tool_use" if reply.calls else "end_turn"


def _usage(usage: Usage) -> Json:
    written: Json = {name: getattr(usage, kind) for name, kind in _USAGE_KEYS.items()}
    if usage.reasoning_tokens:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return written
