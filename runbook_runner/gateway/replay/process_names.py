"""Gateway: the names that an agent's tools give to running processes, which differ from run to run.

A model that waits for a process names it. A replayed answer must name the process of this run, or the agent goes on
before that process has ended.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from runbook_runner.gateway.replay.request_parts import is_tool_output

_KEY: Final = "session_id"  # Codex says `session ID 1234`, Hermes `"session_id": "proc_1a2b"`
_NAMED: Final = re.compile(r"(session[_ ]id\W{1,8})([\w-]+)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class Renaming:
    """Replaces names of one run by those of another, in texts and JSON values of the first."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def learn(self, there: Any, to_local: Any) -> None:
        """Pairs the names in the tool outputs of two requests of the same conversation, in order."""
        pairs = zip(_named(there), _named(to_local), strict=False)
        self._names.update((one, two) for one, two in pairs if one != two)

    def text(self, text: str) -> str:
        return _NAMED.sub(lambda match: match[1] + self._names.get(match[2], match[2]), text) if self else text

    def value(self, value: Any) -> Any:
        """Numbers stay numbers."""
        if not self:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._name(item) if key == _KEY else self.value(item) for key, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list) else value

    def _name(self, name: Any) -> Any:
        known = self._names.get(str(name))
        return name if known is None else int(known) if type(name) is int and _NUMBER.fullmatch(known) else known


def _named(value: Any, *, in_output: bool = False) -> Iterator[str]:
    in_output = in_output or is_tool_output(value)
    if isinstance(value, str) and in_output:
        yield from (match[2] for match in _NAMED.finditer(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from [str(item)] if in_output and key == _KEY else _named(item, in_output=in_output)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, in_output=in_output)
