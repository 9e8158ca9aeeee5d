"""Gateway: the schemas of tools in the words that Gemini's API knows. litellm drops the others, and their meaning.

The words: https://ai.google.dev/api/caching#Schema.
"""

from collections.abc import Iterator
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part

_DEFINITIONS: Final = ("$defs", "definitions")
_NAMED: Final = ("properties", *_DEFINITIONS)
"""Words whose value maps names to schemas."""
_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}


def schema_for_gemini(schema: Json) -> Json:
    """Returns the schema without `const`, `oneOf`, `allOf` and values that are not texts in `enum`."""
    converted: Json = _converted(schema, schema, ())
    return converted


def _converted(schema: Any, root: Json, within: tuple[str, ...]) -> Any:
    """within: the references that led here."""
    if not isinstance(schema, dict):
        return schema
    new: Json = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            new[key] = {name: _converted(item, root, within) for name, item in value.items()}
        elif key in ("anyOf", "oneOf") and isinstance(value, list):
            new["anyOf"] = [*new.get("anyOf", []), *(_converted(item, root, within) for item in value)]
        elif key in ("items", "additionalProperties"):
            new[key] = _converted(value, root, within)
        elif key not in ("const", "enum", "allOf"):
            new[key] = value
    for item in _all_of(schema, root, within):
        _merge(new, item)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return _limited_to(new, values) if isinstance(values, list) and values else new


def _all_of(schema: Json, root: Json, within: tuple[str, ...]) -> Iterator[Json]:
    for item in items(schema, "allOf"):
        reference = item.get("$ref") if isinstance(item, dict) else None
        if isinstance(reference, str):
            if reference in within:
                continue
            *_, kind, name = ("", *reference.split("/"))
            found = part(part(root, kind), name) if reference.startswith("#/") and kind in _DEFINITIONS else {}
            yield _converted(found, root, (*within, reference))
        elif isinstance(item, dict):
            yield _converted(item, root, within)


def _merge(schema: Json, other: Json) -> None:
    for key, value in other.items():
        if key in _NAMED:
            schema[key] = {**value, **schema.get(key, {})}
        elif key == "required" and isinstance(value, list):
            schema[key] = [*dict.fromkeys((*items(schema, key), *value))]
        else:
            schema.setdefault(key, value)


def _limited_to(schema: Json, values: list[Any]) -> Json:
    """Gemini's `enum` is for texts; other values are told in the description."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1:
        schema.setdefault("type", _TYPES.get(kinds.pop(), "object"))
    if all(isinstance(value, str) for value in values):
        return {**schema, "enum": values}
    told = f"One of: {', '.join(map(str, values))}." if len(values) > 1 else f"Always {values[0]}."
    return {**schema, "description": " ".join(filter(None, (schema.get("description"), told)))}
