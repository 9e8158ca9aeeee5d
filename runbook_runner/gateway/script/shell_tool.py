"""Gateway: turns a scripted shell command into a call of the shell tool that an agent offers, and waits for it to end.

Codex 0.169 reports to its model after at most thirty seconds that a command is still running, even when a longer wait
was asked for. A real model then asks again until the command has ended, and so does a script (`polls`).
"""

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json, ParsedRequest, Tool
from runbook_runner.gateway.dialects.bodies import items

# The tool's names in Claude Code, Codex, Gemini CLI, opencode and Hermes, without case and punctuation; best first.
SHELL_NAMES: Final = (
    "bash",
    "shell",
    "runshellcommand",
    "localshell",
    "execcommand",
    "shellcommand",
    "terminal",
    "executecommand",
    "runcommand",
)
_COMMAND_KEYS: Final = ("command", "cmd", "script", "commandline", "code", "input")
_TIMES: Final = ("timeout", "timeoutms", "timeoutseconds")
_EMPTY: Final[Json] = {"boolean": False, "integer": 0, "number": 0, "array": [], "object": {}}
_FILLER: Final = "Scripted command"
_STILL_RUNNING: Final = re.compile(r"^Process running with session ID (\d{1,18})$", re.MULTILINE)
_POLL_TOOL: Final = "write_stdin"
_POLL_MS: Final = 300_000  # the longest that the tool takes; it answers as soon as the command has ended


def find_shell(tools: Iterable[Tool]) -> Tool | None:
    """Returns the offered tool that runs a shell command; `None` without one."""
    by_name = {_plain(tool.name): tool for tool in reversed(tuple(tools))}
    return next((by_name[name] for name in SHELL_NAMES if name in by_name), None)


def shell_input(schema: Json, command: str, timeout_s: float | None = None) -> Json:
    """Returns the input for that tool: the command in the property for it, a filler in every other required property,
    and the time-out, when the tool has one."""
    properties = _object(schema.get("properties"))
    required = [str(name) for name in items(schema, "required")]
    key = _command_key(properties, required)
    filled = {name: _filler(_object(properties.get(name))) for name in required if name != key}
    units = time_units(schema) if timeout_s is not None else {}
    times = {name: round((timeout_s or 0) * units[name]) for name in units}
    return {key: _as_typed(command, _object(properties.get(key))), **filled, **times}


def time_units(schema: Json) -> dict[str, int]:
    """Returns the property for a command's time-out → how many of its units are a second."""
    found = {
        name: _object(about) for name, about in _object(schema.get("properties")).items() if _plain(name) in _TIMES
    }
    in_ms = {name for name, about in found.items() if name.endswith("ms") or "millis" in str(about.get("description"))}
    return {name: 1000 if name in in_ms else 1 for name in found}


def polls(request: ParsedRequest) -> list[tuple[Tool, Json]]:
    """Returns the tool calls that wait for the commands that are still running."""
    tool = next((tool for tool in request.tools if tool.name == _POLL_TOOL), None)
    if tool is None:
        return []
    return [(tool, {"session_id": number, "chars": "", "yield_time_ms": _POLL_MS}) for number in _running(request)]


def _running(request: ParsedRequest) -> Iterator[int]:
    """Yields the session ids in the outputs that came after the model's last answer."""
    for item in reversed(list(takewhile(_is_output, reversed(request.conversation)))):
        found = _STILL_RUNNING.search(str(item.get("output", "")))
        if found:
            yield int(found[1])


def _is_output(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "function_call_output"


def _command_key(properties: Json, required: list[str]) -> str:
    plain = {_plain(name): name for name in properties}
    for key in _COMMAND_KEYS:
        if key in plain:
            return plain[key]
    strings = [name for name in required if _object(properties.get(name)).get("type") == "string"]
    return strings[0] if strings else "command"


def _as_typed(command: str, schema: Json) -> str | list[str]:
    """Codex's `local_shell` takes an argument vector."""
    return ["bash", "-lc", command] if schema.get("type") == "array" else command


def _filler(schema: Json) -> Any:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    if "default" in schema:
        return schema["default"]
    return _EMPTY.get(str(schema.get("type")), _FILLER)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
