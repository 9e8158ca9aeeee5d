"""Agents: a plug-in for Hermes that prints what its hooks report. It runs inside Hermes, in the sandbox, where this
package is not installed; an error in it must not end Hermes.

It writes to descriptor 1 because Hermes discards Python's own stdout while it works.
"""

import json
import os
from collections.abc import Callable
from typing import Any

_FIELDS = {
    "on_session_start": ("session_id", "model"),
    "post_api_request": ("session_id", "model", "finish_reason", "usage"),
    "api_request_error": ("session_id", "status_code", "error", "retry_count", "max_retries", "retryable"),
    "pre_tool_call": ("session_id", "tool_call_id", "tool_name", "args"),
    "post_tool_call": ("session_id", "tool_call_id", "tool_name", "result", "status", "error_message"),
    "subagent_start": ("parent_session_id", "child_session_id", "child_goal"),
    "subagent_stop": ("parent_session_id", "child_session_id", "child_status"),
    "on_session_end": ("session_id", "completed", "interrupted"),
}


def register(ctx: Any) -> None:
    for hook in _FIELDS:
        ctx.register_hook(hook, _printer(hook))


def _printer(hook: str) -> Callable[..., None]:
    def tell(**told: Any) -> None:
        record = {"type": hook, **{name: told.get(name) for name in _FIELDS[hook]}}
        message = told.get("assistant_message")
        if message is not None:
            record["content"] = getattr(message, "content", None)
            record["reasoning"] = getattr(message, "reasoning", None)
        _print((json.dumps(record, default=str) + "\n").encode())

    return tell


def _print(line: bytes) -> None:
    while line:  # a pipe takes what it has room for
        line = line[os.write(1, line) :]
