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

_PATHS: Final[Mapping[str, Operation]] = {"/v1/responses": "generate", "/v1/responses/input_tokens": "count_tokens"}
_IDENTITY: Final = ("instructions", "input", "tools", "previous_response_id")
_USAGE: Final = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
_STOPS: Final[Mapping[str, Stop]] = {"max_output_tokens": "length", "content_filter": "refusal"}
# OpenRouter's says `done`.
_LAST: Final = tuple(f"response.{end}" for end in ("completed", "incomplete", "failed", "cancelled", "done"))


class OpenAIResponses:
    """`POST /v1/responses` and `POST /v1/responses/input_tokens`."""

    name = "openai-responses"

    def operation(self, method: str, path: str) -> Operation | None:
        return _PATHS.get(path.rstrip("/")) if method == "POST" else None

    def ask(self, path: str, body: Json) -> Ask:
        said = body.get("input")
        return Ask(
            model=readable(body.get("model") or "", MAX_MODEL_CHARS),
            stream=body.get("stream") is True,
            tools=tuple(_tools(items(body, "tools"))),
            identity={key: body.get(key) for key in _IDENTITY},
            conversation=tuple(said) if isinstance(said, list) else (said,) if isinstance(said, str) else (),
        )

    def error(self, status: int, message: str) -> Json:
        return error_body(status, message)

    def reading(self, body: bytes) -> Reading:
        data = document(body)
        return _of_response(data) if isinstance(data, dict) else NOTHING

    def heard(self, so_far: Reading, event: Json) -> Reading:
        """Everything of interest is in the last event; of an answer that was cut off it is known that there was one."""
        kind = event.get("type")
        if kind == "error":
            return replace(so_far, error=_stream_error(event), complete=True)
        if kind in _LAST:
            last = _of_response(part(event, "response"))
            return last if last.usage.api_calls else replace(last, usage=so_far.usage)
        begun = kind == "response.output_item.added" and not so_far.complete
        return replace(so_far, usage=Usage(api_calls=1)) if begun else so_far

    def deltas(self, event: Json) -> Iterator[Delta]:
        """Text, reasoning, arguments of calls: every event of a piece has `delta`."""
        kind = event.get("type")
        if isinstance(kind, str) and kind.endswith(".delta") and isinstance(event.get("delta"), str):
            place = [str(event.get(key)) for key in ("output_index", "content_index", "summary_index")]
            yield Delta(".".join([kind, *place]), event, "delta")

    def render(self, reply: Reply, ask: Ask) -> list[bytes]:
        if ask.stream:
            return [sse.event(event["type"], event) for event in _stream(reply, ask)]
        return [json.dumps(_response(reply, ask, "completed", _items(reply))).encode()]

    def count(self, tokens: int) -> Json:
        return {"object": "response.input_tokens", "input_tokens": tokens}


def _tools(tools: list[Any], namespace: str | None = None) -> Iterator[Tool]:
    """Tools of the provider itself (web search …) have a type and mostly no name. Namespaces hold more tools."""
    for tool in tools:
        kind, name = (tool.get("type"), tool.get("name")) if isinstance(tool, dict) else (None, None)
        if kind == "namespace" and isinstance(name, str):
            yield from _tools(items(tool, "tools"), name)
        elif isinstance(name, str) and name:
            yield Tool(name, part(tool, "parameters"), freeform=kind == "custom", namespace=namespace)


# --- reading -------------------------------------------------------------------------------------------------------


def _of_response(data: Json) -> Reading:
    tier, told = data.get("service_tier"), part(data, "usage")
    return Reading(
        usage_of(told, _USAGE) if told else Usage(api_calls=int(bool(items(data, "output")))),
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
    """The API's own stream says it flat, the servers that imitate it say it as everywhere else."""
    return error_message(event) or str(event.get("message") or "error without a message")


# --- writing -------------------------------------------------------------------------------------------------------


def _stream(reply: Reply, ask: Ask) -> Iterator[Json]:
    numbers = count()

    def event(kind: str, **fields: Any) -> Json:
        return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

    begun = _response(reply, ask, "in_progress", [])
    yield event("created", response=begun)
    yield event("in_progress", response=begun)
    whole = _items(reply)
    for index, item in enumerate(whole):
        yield event("output_item.added", output_index=index, item={**item, **_blank(item)})
        for kind, fields in _pieces(item):
            yield event(kind, item_id=item["id"], output_index=index, **fields)
        yield event("output_item.done", output_index=index, item=item)
    status = "completed" if reply.stop is None else "incomplete"
    yield event(status, response=_response(reply, ask, status, whole))


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


def _response(reply: Reply, ask: Ask, status: str, output: list[Json]) -> Json:
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": backwards(_STOPS, reply.stop)} if reply.stop else None,
        "instructions": None,
        "metadata": {},
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": told_usage(reply.usage, _USAGE) if status != "in_progress" else None,
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


def _call(call: Call) -> Json:
    told: Json = {"call_id": f"call_{call.id}", "name": call.tool.name}
    if call.tool.namespace is not None:
        told["namespace"] = call.tool.namespace
    if call.tool.freeform:
        return {"id": f"ctc_{call.id}", "type": "custom_tool_call", "status": "completed", **told, "input": call.text}
    arguments = json.dumps(call.input, ensure_ascii=False)
    return {"id": f"fc_{call.id}", "type": "function_call", "status": "completed", **told, "arguments": arguments}
