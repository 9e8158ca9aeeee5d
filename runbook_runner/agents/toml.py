"""Agents: writes a configuration as TOML, for CLIs that read nothing else. Python's own library only reads it."""

import json
from collections.abc import Mapping
from typing import Any


def dump_toml(config: Mapping[str, Any]) -> str:
    """One line per key; objects within are inline tables. Empty objects and `None` are left out."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in config.items() if value not in (None, {}))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def _key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else _text(key)


def _text(text: str) -> str:
    """A JSON string is a TOML string but for DEL, which TOML wants escaped, and surrogates, which it can't spell."""
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
