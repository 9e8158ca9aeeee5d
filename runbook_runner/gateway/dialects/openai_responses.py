"""Gateway: the OpenAI Responses API, which Codex speaks.

Shapes: https://platform.openai.com/docs/api-reference/responses and the types of the `openai` package.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
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

_PATHS: Final[Mapping[str, Operation]] = {"/v1/responses": "generate", "/v1/responses/input_tokens": "count_tokens"}
_IDENTITY: Final = ("instructions", "input", "tools", "previous_response_id")
_USAGE: Final = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
_STOPS: Final[Mapping[str, Stop]] = {"max_output_tokens": "length", "content_filter": "refusal"}
_CODES: Final = {400: "invalid_prompt", 503: "server_is_overloaded", 529: "server_is_overloaded"}
# OpenRouter sends `done`.
_LAST: Final = tuple(f"response.{end}" for end in ("completed", "incomplete", "failed", "cancelled", "done"))


class OpenAIResponses:
    """`POST /v1/responses` and `POST /v1/responses/input_tokens`."""

    name = "openai-responses"

    def operation(self, method: str, path: str) -> Operation | None:
        return _PATHS.get(path.rstrip("/")) if method == "POST" else None

    def parse_request(self, path: str, body: Json) -> ParsedRequest:
        given = body.get("input")
        conversation = [given] if isinstance(given, str) else items(body, "input")
        return parsed_request(body, _tools(items(body, "tools")), _IDENTITY, conversation)

    def error(self, status: int, message: str) -> Json:
        return error_body(status, message)

    def stream_error(self, status: int, message: str) -> bytes:
        """Codex goes by the code: it waits for a server that is overloaded."""
        code = _CODES.get(status) or part(error_body(status, message), "error")["code"] or "server_error"
        failed = {"object": "response", "status": "failed", "error": {"code": code, "message": message}}
        return sse.event("response.failed", {"type": "response.failed", "response": failed})

    ping = sse.PING

    def parse_response(self, body: bytes) -> ParsedResponse:
        data = document(body)
        return _of_response(data) if isinstance(data, dict) else NOT_AN_ANSWER

    def add_event(self, response: ParsedResponse, event: Json) -> ParsedResponse:
        """Everything of interest is in the last event; of an answer that was cut off it is known only that it began."""
        kind = event.get("type")
        if kind == "error":
            return replace(response, error=_stream_error(event), complete=True)
        if kind in _LAST:
            last = _of_response(part(event, "response"))
            return last if last.usage.api_calls else replace(last, usage=response.usage)
        begun = kind == "response.output_item.added" and not response.complete
        return replace(response, usage=Usage(api_calls=1)) if begun else response

    def deltas(self, event: Json) -> Iterator[Delta]:
        """Text, reasoning, arguments of calls: every event of a piece has `delta`."""
        kind = event.get("type")
        if isinstance(kind, str) and kind.endswith(".delta") and isinstance(event.get("delta"), str):
            position = [str(event.get(key)) for key in ("output_index", "content_index", "summary_index")]
            yield Delta(".".join([kind, *position]), event, "delta")

    def render(self, reply: Reply, request: ParsedRequest) -> list[bytes]:
        if request.stream:
            return [sse.event(event["type"], event) for event in _stream(reply, request)]
        return [json.dumps(_response(reply, request, "completed", _items(reply))).encode()]

    def token_count(self, tokens: int) -> Json:
        return {"object": "response.input_tokens", "input_tokens": tokens}


def _tools(tools: list[Any], namespace: str | None = None) -> Iterator[Tool]:
    """Tools of the provider itself (web search …) have a type and mostly no name. Namespaces hold more tools."""
    for tool in tools:
        kind, name = (tool.get("type"), tool.get("name")) if isinstance(tool, dict) else (None, None)
        if kind == "namespace" and isinstance(name, str):
            yield from _tools(items(tool, "tools"), name)
        elif isinstance(name, str) and name:
            yield Tool(name, part(tool, "parameters"), freeform=kind == "custom", namespace=namespace)
        elif kind == "tool_search":
            yield Tool(kind, {})


# --- reading -------------------------------------------------------------------------------------------------------


def _of_response(data: Json) -> ParsedResponse:
    tier, usage = data.get("service_tier"), part(data, "usage")
    return ParsedResponse(
        usage_of(usage, _USAGE) if usage else Usage(api_calls=int(bool(items(data, "output")))),
        error_message(data),
        complete=True,
        tier=tier if isinstance(tier, str) else None,
        stop=_stop(data),
        searches=sum(map(_is_search, items(data, "output"))),
    )


def _is_search(item: Any) -> bool:
    """Opening a page that was found is free."""
    called = isinstance(item, dict) and item.get("type") == "web_search_call"
    return called and part(item, "action").get("type") in (None, "search")


def _stop(data: Json) -> Stop | None:
    """A model that refuses says so in a part of its message; one that was cut off has an incomplete response."""
    parts = (piece for item in items(data, "output") for piece in items(item, "content"))
    if any(isinstance(piece, dict) and piece.get("type") == "refusal" for piece in parts):
        return "refusal"
    return _STOPS.get(str(part(data, "incomplete_details").get("reason")))


def _stream_error(event: Json) -> str:
    """The API itself has the message at the top level of the event, servers that imitate it in `error`."""
    return error_message(event) or str(event.get("message") or "error without a message")


# --- writing -------------------------------------------------------------------------------------------------------


def _stream(reply: Reply, request: ParsedRequest) -> Iterator[Json]:
    numbers = count()

    def event(kind: str, **fields: Any) -> Json:
        return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

    begun = _response(reply, request, "in_progress", [])
    yield event("created", response=begun)
    yield event("in_progress", response=begun)
    whole = _items(reply)
    for index, item in enumerate(whole):
        yield event("output_item.added", output_index=index, item={**item, **_blank(item)})
        for kind, fields in _pieces(item):
            yield event(kind, item_id=item["id"], output_index=index, **fields)
        yield event("output_item.done", output_index=index, item=item)
    status = "completed" if reply.stop is None else "incomplete"
    yield event(status, response=_response(reply, request, status, whole))


def _blank(item: Json) -> Json:
    """What an item does not have yet when it begins."""
    empty: Json = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""},
                   "custom_tool_call": {"input": ""}}  # fmt: skip
    blank: Json = dict(empty[item["type"]])
    return blank | ({"status": "in_progress"} if "status" in item else {})


def _pieces(item: Json) -> Iterator[tuple[str, Json]]:
    """The events that fill an item, each text in one delta."""
    if item["type"] == "message":
        (part_,) = item["content"]
        yield "content_part.added", {"content_index": 0, "part": {**part_, "text": ""}}
        yield "output_text.delta", {"content_index": 0, "delta": part_["text"], "logprobs": []}
        yield "output_text.done", {"content_index": 0, "text": part_["text"], "logprobs": []}
        yield "content_part.done", {"content_index": 0, "part": part_}
    elif item["type"] == "reasoning":
        (part_,) = item["summary"]
        yield "reasoning_summary_part.added", {"summary_index": 0, "part": {**part_, "text": ""}}
        yield "reasoning_summary_text.delta", {"summary_index": 0, "delta": part_["text"]}
        yield "reasoning_summary_text.done", {"summary_index": 0, "text": part_["text"]}
        yield "reasoning_summary_part.done", {"summary_index": 0, "part": part_}
    else:
        freeform = item["type"] == "custom_tool_call"
        kind, key = ("custom_tool_call_input", "input") if freeform else ("function_call_arguments", "arguments")
        yield f"{kind}.delta", {"delta": item[key]}
        yield f"{kind}.done", {key: item[key], **({} if freeform else {"name": item["name"]})}


def _response(reply: Reply, request: ParsedRequest, status: str, output: list[Json]) -> Json:
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": api_stop(_STOPS, reply.stop)} if reply.stop else None,
        "instructions": None,
        "metadata": {},
        "model": request.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage_json(reply.usage, _USAGE) if status != "in_progress" else None,
    }


def _items(reply: Reply) -> list[Json]:
    made: list[Json] = []
    if reply.thinking is not None:
        summary = [{"type": "summary_text", "text": reply.thinking}]
        made.append({"id": f"rs_{reply.id}", "type": "reasoning", "summary": summary, "encrypted_content": None})
    if reply.text is not None or not (reply.calls or made):
        content = [{"type": "output_text", "text": reply.text or "", "annotations": [], "logprobs": []}]
        made.append({"id": f"msg_{reply.id}", "type": "message", "status": "completed", "role": "assistant",
                     "content": content})  # fmt: skip
    return [*made, *map(_call, reply.calls)]


def _call(call: ToolCall) -> Json:
    common: Json = {"call_id": f"call_{call.id}", "name": call.tool.name}
    if call.tool.namespace is not None:
        common["namespace"] = call.tool.namespace
    if call.tool.freeform:
        return {"id": f"ctc_{call.id}", "type": "custom_tool_call", "status": "completed", **common, "input": call.text}
    arguments = json.dumps(call.input, ensure_ascii=False)
    return {"id": f"fc_{call.id}", "type": "function_call", "status": "completed", **common, "arguments": arguments}
