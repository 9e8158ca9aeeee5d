"""Gateway: a scripted command that takes longer than its agent waits for it: the script waits, before it goes on.

Codex 0.169 tells its model after at most thirty seconds that a command is still running, however long a wait was asked
for. A real model then asks again until the command has ended, and so does a script.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json, ParsedRequest, Tool

_RUNNING: Final = re.compile(r"^Process running with session ID (\d+)$", re.MULTILINE)
_TOOL: Final = "write_stdin"
_WAIT_MS: Final = 300_000  # the longest it takes; it answers as soon as the command has ended


def polls(parsed: ParsedRequest) -> list[tuple[Tool, Json]]:
    """Calls that wait for the commands whose last word was that they go on."""
    tool = next((tool for tool in parsed.tools if tool.name == _TOOL), None)
    if tool is None:
        return []
    return [(tool, {"session_id": number, "chars": "", "yield_time_ms": _WAIT_MS}) for number in _running(parsed)]


def _running(parsed: ParsedRequest) -> Iterator[int]:
    """In the outputs that came since the model spoke last."""
    for item in reversed(list(takewhile(_is_output, reversed(parsed.conversation)))):
        found = _RUNNING.search(str(item.get("output", "")))
        if found:
            yield int(found[1])


def _is_output(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "function_call_output"
