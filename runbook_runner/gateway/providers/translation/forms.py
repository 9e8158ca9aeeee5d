"""Gateway: how litellm takes the requests of each API, and what it leaves out."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part


@dataclass(frozen=True)
class Form:
    """How litellm takes the requests of one API."""

    call: Callable[[Any, Json], Awaitable[Any]]
    fields: frozenset[str]
    """Fields that it can pass on; others are left out."""
    ignored: frozenset[str]
    """Fields that may be left out without a note."""
    losses: Callable[[Json], Iterator[str]]
    end: bytes = b""
    """After the last event of a stream."""


def _anthropic(litellm: Any, body: Json) -> Awaitable[Any]:
    answer: Awaitable[Any] = litellm.anthropic.messages.acreate(**{"max_tokens": 4096, **body})
    return answer


def _responses(litellm: Any, body: Json) -> Awaitable[Any]:
    tools = [tool for tool in items(body, "tools") if _is_function(tool)]
    answer: Awaitable[Any] = litellm.aresponses(**{**body, "tools": tools or None})
    return answer


def _chat(litellm: Any, body: Json) -> Awaitable[Any]:
    answer: Awaitable[Any] = litellm.acompletion(**body)
    return answer


def _gemini(litellm: Any, body: Json) -> Awaitable[Any]:
    stream = body.pop("stream")
    config = body.pop("generationConfig", None)
    call = litellm.google_genai.agenerate_content_stream if stream else litellm.google_genai.agenerate_content
    answer: Awaitable[Any] = call(**body, config=config)
    return answer


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function"


def _anthropic_losses(body: Json) -> Iterator[str]:
    text = json.dumps([body.get("system"), body.get("messages"), body.get("tools")])
    if '"cache_control"' in text:
        yield "cache control"
    if '"type": "thinking"' in text or '"type": "redacted_thinking"' in text:
        yield "the signatures of earlier thinking"
    server = [str(tool.get("name")) for tool in items(body, "tools") if isinstance(tool, dict) and "type" in tool]
    named = [str(tool.get("type")) for tool in items(body, "tools") if isinstance(tool, dict) and "type" in tool]
    if any(kind != "custom" for kind in named):
        yield f"the provider's own tools ({', '.join(server)})"


def _responses_losses(body: Json) -> Iterator[str]:
    other = [tool for tool in items(body, "tools") if not _is_function(tool)]
    if other:
        names = (str(tool.get("name") or tool.get("type")) if isinstance(tool, dict) else "?" for tool in other)
        yield f"the tools that are not functions ({', '.join(names)})"
    if any(isinstance(item, dict) and item.get("type") == "reasoning" for item in items(body, "input")):
        yield "the reasoning of earlier turns"


def _gemini_losses(body: Json) -> Iterator[str]:
    if '"thoughtSignature"' in json.dumps(items(body, "contents")):
        yield "the thoughts of earlier turns"
    if part(part(body, "generationConfig"), "thinkingConfig"):
        yield "the thinking budget"


def _no_losses(body: Json) -> Iterator[str]:
    yield from ()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FORMS: Final[Mapping[str, Form]] = {
    "anthropic": Form(
        _anthropic,
        _names("max_tokens messages stop_sequences system temperature thinking tool_choice tools top_k top_p"),
        _names("model stream metadata"),
        _anthropic_losses,
    ),
    "openai-responses": Form(
        _responses,
        _names(
            "input instructions max_output_tokens parallel_tool_calls reasoning temperature text tool_choice tools "
            "top_p"
        ),
        _names("model stream store include prompt_cache_key client_metadata metadata user safety_identifier"),
        _responses_losses,
    ),
    "openai-chat": Form(
        _chat,
        _names(
            "messages tools tool_choice parallel_tool_calls temperature top_p max_tokens max_completion_tokens stop "
            "seed response_format reasoning_effort stream_options frequency_penalty presence_penalty n "
            "logprobs top_logprobs"
        ),
        _names("model stream user store metadata prompt_cache_key"),
        _no_losses,
        end=b"data: [DONE]\n\n",
    ),
    "gemini": Form(
        _gemini,
        _names("contents tools toolConfig systemInstruction generationConfig"),
        _names("model safetySettings"),
        _gemini_losses,
    ),
}
