"""Gateway: what is changed in an agent's request before litellm translates it, because litellm would get it wrong."""

from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part
from runbook_runner.gateway.providers.translation.schemas import schema_for_gemini

_DATA: Final = frozenset({"input", "args", "response", "arguments", "input_schema", "parameters"})
"""Keys whose values are what a tool is given or answers, or a schema: nothing in them is of the API."""
_GOOGLE: Final = ("gemini/", "vertex_ai/")


def prepared(dialect: str, body: Json, name: str) -> Json:
    """dialect: the agent's. name: litellm's of the model."""
    if "claude" not in name:  # for Gemini, litellm would make caches in the account of the user, who pays for them
        cached = ("messages", "system", "tools")
        body = {key: _without("cache_control", value) if key in cached else value for key, value in body.items()}
    if dialect == "gemini":
        body = _in_order(body)
    if name.startswith(_GOOGLE) and "gemini" in name.partition("/")[2]:
        body = {**body, **({"tools": [_for_gemini(tool) for tool in body["tools"]]} if items(body, "tools") else {})}
    return body


def _without(unwanted: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_without(unwanted, item) for item in value]
    if isinstance(value, dict):
        kept = ((key, item) for key, item in value.items() if key != unwanted)
        return {key: item if key in _DATA else _without(unwanted, item) for key, item in kept}
    return value


def _in_order(body: Json) -> Json:
    """Gemini's clients may mix what was said with results of tools, which come first elsewhere, and give several system
    texts; thoughts of earlier turns are not what the model said."""
    contents: list[Json] = []
    for content in filter(_is_object, items(body, "contents")):
        parts = [piece for piece in filter(_is_object, items(content, "parts")) if piece.get("thought") is not True]
        results = [piece for piece in parts if "functionResponse" in piece]
        said = [piece for piece in parts if "functionResponse" not in piece]
        contents += [{**content, "parts": some} for some in (results, said) if some]
    texts = filter(_is_object, items(part(body, "systemInstruction"), "parts"))
    system = "\n\n".join(piece["text"] for piece in texts if isinstance(piece.get("text"), str))
    return {**body, "contents": contents, **({"systemInstruction": {"parts": [{"text": system}]}} if system else {})}


def _for_gemini(tool: Any) -> Any:
    """The tool of any other API."""
    for key in ("input_schema", "parameters"):
        if part(tool, key):
            tool = {**tool, key: schema_for_gemini(tool[key])}
    function = part(tool, "function")
    return {**tool, "function": _for_gemini(function)} if function else tool


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
