"""Gateway: how a question is written in the API of a provider, and where its answer is."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from runbook_runner.core.asking.question import Picture, Question, Turn
from runbook_runner.core.facts.providers import find_provider
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part

_ANSWER: Final = "answer"
_MOST_TOKENS: Final = 16_384
"""Of an answer; only Anthropic's API has to be told."""


class Form(NamedTuple):
    """How one API takes a question."""

    dialect: str
    path: Callable[[str], str]
    """Takes the model's name."""
    body: Callable[[str, Question, bool], Json]
    """Takes the model's name, the question, and whether the answer is to be held to the question's schema."""
    text: Callable[[Json], str]
    """Returns what the model said; empty when it said nothing."""
    headers: Mapping[str, str] = {}


def form_for(provider: str | None) -> Form:
    """An API that the provider speaks itself, where it has one; `None`: a script answers, which speaks all."""
    row = find_provider(provider) if provider else None
    return next((form for form in _FORMS if row and form.dialect in row.dialects), _FORMS[0])


# --- OpenAI chat completions, which most providers speak, and litellm translates ---


def _chat_body(model: str, question: Question, structured: bool) -> Json:
    messages = [{"role": "system", "content": question.system}]
    messages += [{"role": turn.role, "content": _chat_content(turn)} for turn in question.turns]
    schema = {"name": _ANSWER, "strict": True, "schema": question.schema}
    held = {"response_format": {"type": "json_schema", "json_schema": schema}} if structured else {}
    return {"model": model, "messages": messages, **held}


def _chat_content(turn: Turn) -> Any:
    """Plain text without pictures: not every local server takes parts."""
    if all(isinstance(piece, str) for piece in turn.parts):
        return "\n\n".join(map(str, turn.parts))
    return [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": f"data:{piece.media_type};base64,{_base64(piece)}"}}
        for piece in turn.parts
    ]


def _chat_text(body: Json) -> str:
    for choice in items(body, "choices")[:1]:
        content = part(choice, "message").get("content")
        return content if isinstance(content, str) else _joined(items(part(choice, "message"), "content"))
    return ""


# --- Anthropic messages: a tool that must be called is what all its models can be held to ---


def _messages_body(model: str, question: Question, structured: bool) -> Json:
    tool = {"name": _ANSWER, "description": "Gives the answer.", "input_schema": question.schema}
    held = {"tools": [tool], "tool_choice": {"type": "tool", "name": _ANSWER}} if structured else {}
    messages = [{"role": turn.role, "content": [*map(_messages_block, turn.parts)]} for turn in question.turns]
    return {"model": model, "max_tokens": _MOST_TOKENS, "system": question.system, "messages": messages, **held}


def _messages_block(piece: str | Picture) -> Json:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    return {"type": "image", "source": {"type": "base64", "media_type": piece.media_type, "data": _base64(piece)}}


def _messages_text(body: Json) -> str:
    blocks = [block for block in items(body, "content") if isinstance(block, dict)]
    called = [block["input"] for block in blocks if block.get("type") == "tool_use" and part(block, "input")]
    return "\n".join(map(json.dumps, called)) if called else _joined(blocks)  # several are no answer


# --- Gemini ---


def _gemini_body(model: str, question: Question, structured: bool) -> Json:
    held = {"responseMimeType": "application/json", "responseJsonSchema": question.schema} if structured else {}
    roles = {"user": "user", "assistant": "model"}
    return {
        "systemInstruction": {"parts": [{"text": question.system}]},
        "contents": [{"role": roles[turn.role], "parts": [*map(_gemini_part, turn.parts)]} for turn in question.turns],
        "generationConfig": held,
    }


def _gemini_part(piece: str | Picture) -> Json:
    if isinstance(piece, str):
        return {"text": piece}
    return {"inlineData": {"mimeType": piece.media_type, "data": _base64(piece)}}


def _gemini_text(body: Json) -> str:
    found = [items(part(candidate, "content"), "parts") for candidate in items(body, "candidates")[:1]]
    return _joined([piece for parts in found for piece in parts if _is_said(piece)])


def _is_said(piece: Any) -> bool:
    """Thoughts are no answer."""
    return isinstance(piece, dict) and piece.get("thought") is not True


def _joined(pieces: Sequence[Any]) -> str:
    return "".join(_texts(pieces))


def _texts(pieces: Sequence[Any]) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, dict) and isinstance(piece.get("text"), str):
            yield piece["text"]


def _base64(picture: Picture) -> str:
    return b64encode(picture.data).decode()


_FORMS: Final = (
    Form("openai-chat", lambda model: "/v1/chat/completions", _chat_body, _chat_text),
    Form(
        "anthropic",
        lambda model: "/v1/messages",
        _messages_body,
        _messages_text,
        {"anthropic-version": "2023-06-01"},
    ),
    Form(
        "gemini",
        lambda model: f"/v1beta/models/{quote(model, safe='')}:generateContent",
        _gemini_body,
        _gemini_text,
    ),
)
