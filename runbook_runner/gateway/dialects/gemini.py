"""Gateway: Gemini's generateContent, as the Gemini CLI and the `google-genai` package speak it.

Shapes: https://ai.google.dev/api/generate-content. The model is in the path. `streamGenerateContent` without `?alt=sse`
answers with one JSON array; that is forwarded and read, but a script always answers it with an event stream.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, Final
from urllib.parse import unquote

from runbook_runner.core.events import Stop, Usage
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import (
    MAX_MODEL_CHARS,
    NO_EVENTS,
    Delta,
    Json,
    Operation,
    ParsedRequest,
    ParsedResponse,
    Reply,
    Tool,
    readable,
)
from runbook_runner.gateway.dialects.bodies import api_stop, document, error_message, items, number, part

_PATH: Final = re.compile(r"/v1(?:beta|alpha)?/(?:models|tunedModels)/(?P<model>.+):(?P<action>\w+)")
_ACTIONS: Final[Mapping[str, Operation]] = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "count_tokens",
}
_IDENTITY: Final = ("systemInstruction", "contents", "tools")
_STOPS: Final[Mapping[str, Stop]] = {
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"),
        "refusal",
    ),
}
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}


class Gemini:
    """`POST /v1beta/models/MODEL:generateContent`, `:streamGenerateContent` and `:countTokens`."""

    name = "gemini"

    def operation(self, method: str, path: str) -> Operation | None:
        found = _PATH.fullmatch(path)
        if found is None or method != "POST" or not {".", ".."}.isdisjoint(found["model"].split("/")):
            return None
        return _ACTIONS.get(found["action"])

    def parse_request(self, path: str, body: Json) -> ParsedRequest:
        found = _PATH.fullmatch(path)
        contents = items(body, "contents")
        return ParsedRequest(
            model=readable(unquote(found["model"]) if found else "", MAX_MODEL_CHARS),
            stream=found is not None and found["action"] == "streamGenerateContent",
            tools=tuple(_tools(items(body, "tools"))),
            identity={key: body.get(key) for key in _IDENTITY},
            conversation=tuple(contents),
        )

    def error(self, status: int, message: str) -> Json:
        name = _STATUS.get(status) or ("UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")
        return {"error": {"code": status, "message": message, "status": name}}

    def stream_error(self, status: int, message: str) -> bytes:
        return sse.data(self.error(status, message))

    ping = sse.PING

    def parse_response(self, body: bytes) -> ParsedResponse:
        data = document(body)
        chunks = data if isinstance(data, list) else [data]
        known = [chunk for chunk in chunks if isinstance(chunk, dict)]
        return replace(reduce(self.add_event, known, NO_EVENTS), complete=True)

    def add_event(self, response: ParsedResponse, event: Json) -> ParsedResponse:
        """Every chunk repeats the totals so far; the last has a `finishReason` or a `blockReason` for the prompt."""
        usage, candidates, feedback = response.usage, items(event, "candidates"), part(event, "promptFeedback")
        reported = part(event, "usageMetadata")
        # Some only name the traffic type.
        counted = "promptTokenCount" in reported or "candidatesTokenCount" in reported
        if candidates or feedback or counted:
            usage = (_usage_of(reported) if counted else usage).model_copy(update={"api_calls": 1})
        error = error_message(event) or response.error
        ended = [
            str(item["finishReason"]) for item in candidates if isinstance(item, dict) and item.get("finishReason")
        ]
        blocked = bool(feedback.get("blockReason"))
        complete = response.complete or bool(ended) or bool(error) or blocked
        stop = "refusal" if blocked else _STOPS.get(ended[0], response.stop) if ended else response.stop
        searches = sum(len(items(part(item, "groundingMetadata"), "webSearchQueries")) for item in candidates)
        return ParsedResponse(usage, error, complete, stop=stop, searches=searches or response.searches)

    def deltas(self, event: Json) -> Iterator[Delta]:
        for index, candidate in enumerate(items(event, "candidates")):
            for piece in items(part(candidate, "content"), "parts"):
                if isinstance(piece, dict) and isinstance(piece.get("text"), str):
                    yield Delta(f"{index}.{piece.get('thought') is True}", piece, "text")

    def render(self, reply: Reply, request: ParsedRequest) -> list[bytes]:
        if request.stream:
            return [sse.data(chunk) for chunk in _chunks(reply, request)]
        return [json.dumps(_chunk(reply, request, _parts(reply), last=True)).encode()]

    def token_count(self, tokens: int) -> Json:
        return {"totalTokens": tokens}


def _tools(tools: list[Any]) -> Iterator[Tool]:
    for group in tools:
        for tool in items(group, "functionDeclarations") or items(group, "function_declarations"):
            if isinstance(tool, dict) and isinstance(tool.get("name"), str):
                schema = part(tool, "parametersJsonSchema") or part(tool, "parameters")
                yield Tool(tool["name"], schema)


# --- reading -------------------------------------------------------------------------------------------------------


def _usage_of(reported: Json) -> Usage:
    """The prompt includes what was cached; thoughts come on top of the candidates. Writing a cache is not reported."""
    cached, thoughts = number(reported, "cachedContentTokenCount"), number(reported, "thoughtsTokenCount")
    sent = number(reported, "promptTokenCount") + number(reported, "toolUsePromptTokenCount")
    return Usage(
        prompt_tokens=max(0, sent - cached),
        completion_tokens=number(reported, "candidatesTokenCount") + thoughts,
        cache_read_tokens=cached,
        reasoning_tokens=thoughts,
    )


# --- writing -------------------------------------------------------------------------------------------------------


def _chunks(reply: Reply, request: ParsedRequest) -> Iterator[Json]:
    *first, last = _parts(reply)
    for piece in first:
        yield _chunk(reply, request, [piece])
    yield _chunk(reply, request, [last], last=True)


def _chunk(reply: Reply, request: ParsedRequest, parts: list[Json], *, last: bool = False) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = api_stop(_STOPS, reply.stop) if reply.stop else "STOP"
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(reply.usage, whole=last),
        "modelVersion": request.model,
        "responseId": reply.id,
    }


def _parts(reply: Reply) -> list[Json]:
    """At least one: the API's clients take an answer without parts for a fault and ask again."""
    parts: list[Json] = []
    if reply.thinking is not None:
        parts.append({"text": reply.thinking, "thought": True})
    if reply.text is not None:
        parts.append({"text": reply.text})
    for call in reply.calls:
        parts.append({"functionCall": {"id": f"call_{call.id}", "name": call.tool.name, "args": call.input}})
    return parts or [{"text": ""}]


def _usage(usage: Usage, *, whole: bool) -> Json:
    sent = usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    answered = usage.completion_tokens - usage.reasoning_tokens if whole else 0
    thoughts = usage.reasoning_tokens if whole else 0
    written = {
        "promptTokenCount": sent,
        "candidatesTokenCount": answered,
        "totalTokenCount": sent + answered + thoughts,
    }
    if usage.cache_read_tokens:
        written["cachedContentTokenCount"] = usage.cache_read_tokens
    if thoughts:
        written["thoughtsTokenCount"] = thoughts
    return written
