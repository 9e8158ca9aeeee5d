"""Gateway: OpenAI chat completions, which most other providers and local servers speak too.

Shapes: https://platform.openai.com/docs/api-reference/chat and the types of the `openai` package. Reasoning is in
`reasoning_content`, as DeepSeek, vLLM and others name it; OpenRouter names it `reasoning`.
"""

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
    ToolCall,
)
from runbook_runner.gateway.dialects.bodies import api_stop, document, error_message, items, parsed_request, part
from runbook_runner.gateway.dialects.openai_shapes import CREATED, error_body, usage_json, usage_of

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

    def parse_request(self, path: str, body: Json) -> ParsedRequest:
        stream_usage = part(body, "stream_options").get("include_usage") is True
        tools, messages = _tools(items(body, "tools")), items(body, "messages")
        return parsed_request(body, tools, _IDENTITY, messages, stream_usage=stream_usage)

    def error(self, status: int, message: str) -> Json:
        return error_body(status, message)

    def stream_error(self, status: int, message: str) -> bytes:
        return sse.data(self.error(status, message))

    ping = sse.PING

    def parse_response(self, body: bytes) -> ParsedResponse:
        data = document(body)
        if not isinstance(data, dict):
            return NOT_AN_ANSWER
        usage = usage_of(part(data, "usage"), _USAGE) if items(data, "choices") else Usage()
        return ParsedResponse(usage, error_message(data), complete=True, tier=_tier(data), stop=_stop(data, "message"))

    def add_event(self, response: ParsedResponse, event: Json) -> ParsedResponse:
        """Usage is in a chunk of its own after the last choice, when the client asked for it; the end is `[DONE]`."""
        if event is sse.DONE:
            return replace(response, complete=True)
        if any(isinstance(choice, dict) and choice.get("finish_reason") for choice in items(event, "choices")):
            response = replace(response, may_end=True)
        usage, error = response.usage, _error(event)
        if part(event, "usage"):
            usage = usage_of(part(event, "usage"), _USAGE)
        elif items(event, "choices") and not usage.api_calls:
            usage = Usage(api_calls=1)
        error, tier = error or response.error, _tier(event) or response.tier
        stop = _stop(event, "delta") or response.stop
        if (usage, error, tier, stop) == (response.usage, response.error, response.tier, response.stop):
            return response
        complete = response.complete or error is not None
        return replace(response, usage=usage, error=error, complete=complete, tier=tier, stop=stop)

    def deltas(self, event: Json) -> Iterator[Delta]:
        for choice in items(event, "choices"):
            delta = part(choice, "delta")
            index = choice.get("index") if delta else None
            for key in _TEXT_KEYS:
                if isinstance(delta.get(key), str):
                    yield Delta(f"{index}.{key}", delta, key)
            for key, holder in _inner(delta):
                if isinstance(holder.get(key), str):
                    yield Delta(f"{index}.{key}", holder, key)
            for call in items(delta, "tool_calls"):
                for kind, key in (("function", "arguments"), ("custom", "input")):
                    if isinstance(part(call, kind).get(key), str):
                        yield Delta(f"{index}.call{call.get('index')}", call[kind], key)

    def render(self, reply: Reply, request: ParsedRequest) -> list[bytes]:
        if request.stream:
            return [*(sse.data(chunk) for chunk in _chunks(reply, request)), _DONE]
        choice = {"index": 0, "message": _message(reply), "logprobs": None, "finish_reason": _finish_reason(reply)}
        usage = usage_json(reply.usage, _USAGE)
        return [json.dumps(_completion("chat.completion", reply, request, [choice], usage=usage)).encode()]

    def token_count(self, tokens: int) -> Json:
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
    """OpenRouter reports a provider's failure within the choice that it cut off."""
    return error_message(event) or next(filter(None, map(error_message, items(event, "choices"))), None)


def _tier(data: Json) -> str | None:
    tier = data.get("service_tier")
    return tier if isinstance(tier, str) else None


def _stop(data: Json, key: str) -> Stop | None:
    """key: where a choice has its text, `message` or `delta`."""
    for choice in items(data, "choices")[:1]:
        if part(choice, key).get("refusal"):
            return "refusal"
        return _STOPS.get(str(choice.get("finish_reason"))) if isinstance(choice, dict) else None
    return None


# --- writing -------------------------------------------------------------------------------------------------------


def _chunks(reply: Reply, request: ParsedRequest) -> Iterator[Json]:
    def chunk(delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _completion("chat.completion.chunk", reply, request, [choice], **no_usage)

    no_usage: Json = {"usage": None} if request.stream_usage else {}
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
    if request.stream_usage:
        usage = usage_json(reply.usage, _USAGE)
        yield _completion("chat.completion.chunk", reply, request, [], usage=usage)


def _completion(kind: str, reply: Reply, request: ParsedRequest, choices: list[Json], **more: Any) -> Json:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": kind,
        "created": CREATED,
        "model": request.model,
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


def _call(call: ToolCall, *, empty: bool = False) -> Json:
    kind, key = ("custom", "input") if call.tool.freeform else ("function", "arguments")
    written = "" if empty else _written(call)
    return {"id": f"call_{call.id}", "type": kind, kind: {"name": call.tool.name, key: written}}


def _written(call: ToolCall) -> str:
    return call.text if call.tool.freeform else json.dumps(call.input, ensure_ascii=False)


def _finish_reason(reply: Reply) -> str:
    if reply.stop is not None:
        return api_stop(_STOPS, reply.stop)
    return "tool_calls" if reply.calls else "stop"
