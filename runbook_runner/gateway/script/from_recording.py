"""Gateway: makes a model script from a cassette, for people to edit."""

import math
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, Final

import yaml

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Usage
from runbook_runner.core.formats.numbers import amount
from runbook_runner.gateway.cassette.answers import RecordedAnswer, read_answer
from runbook_runner.gateway.cassette.cassette import Exchange
from runbook_runner.gateway.cassette.dedup import compact
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import NO_EVENTS, Dialect, Json, ParsedRequest
from runbook_runner.gateway.replay.index import CassetteIndex, IndexedCall
from runbook_runner.gateway.script.shell_tool import find_shell, shell_input, time_units
from runbook_runner.gateway.script.turns import MAX_TIMEOUT_S

_WIDTH: Final = 110

# Properties of shell tools that describe a command, or how much of its output is shown and when.
_NO_EFFECT: Final = ("description", "justification", "yield_time_ms", "max_output_tokens", "login")
_FOLDERS: Final = ("workdir", "dir_path", "cwd", "directory")
_HERE: Final = (settings.APP, ".", "./")
_USAGE: Final = {
    "input": "prompt_tokens",
    "output": "completion_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}


def script_from(index: CassetteIndex) -> str:
    """Returns the recorded turns as a model script, without side requests and failed calls. Raises InputError without
    any, and for a damaged cassette."""
    entries = list(_turns(index))
    turns = [_turn(entry, exchange) for entry, exchange in zip(entries, index.exchanges(entries), strict=True)]
    if not turns:
        raise InputError("No answer of a model is recorded here.", where=str(index.folder))
    return "\n".join(
        yaml.dump([turn], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH) for turn in turns
    )


def _turns(index: CassetteIndex) -> Iterator[IndexedCall]:
    """Yields the last call for each question: a client that lost an answer asks again."""
    yield from {entry.profile.key: entry for entry in index.entries if entry.is_turn}.values()


def _turn(entry: IndexedCall, exchange: Exchange) -> Json:
    answer = read_answer(entry.call.dialect, exchange.response)
    request = entry.dialect.parse_request(entry.call.path.partition("?")[0], exchange.request or {})
    turn: Json = {}
    if answer.thinking:
        turn["think"] = answer.thinking
    if answer.text is not None or not (answer.calls or answer.thinking):
        turn["say"] = answer.text or ""
    return turn | _calls(answer, request) | _stop(entry.dialect, exchange.response) | _tokens(entry.call.usage)


def _calls(answer: RecordedAnswer, request: ParsedRequest) -> Json:
    """Returns the calls as shell commands when nothing is lost by it, because such a script drives any agent; else as
    calls of tools by name."""
    found = [command for call in answer.calls if (command := _command(call, request))]
    if found and len(found) == len(answer.calls):
        commands, longest = [text for text, _ in found], max(seconds for _, seconds in found)
        return {"shell": commands[0] if len(found) == 1 else commands, **({"timeout": longest} if longest else {})}
    tools = [{"name": name, **({"input": value} if value else {})} for name, value in answer.calls]
    return {"tool": tools[0]} if len(tools) == 1 else {"tools": tools} if tools else {}


def _command(call: tuple[str, Json], request: ParsedRequest) -> tuple[str, float] | None:
    """Returns a call's command and time-out in seconds, zero without one; `None` when the call is more than that."""
    name, value = call
    shell = find_shell(request.tools)
    if shell is None or shell.name != name:
        return None
    units = time_units(shell.schema)
    times = {key: amount(value.get(key) or 0) for key in units}
    seconds = max((math.inf if time is None else time / units[key] for key, time in times.items()), default=0)
    value = {key: item for key, item in value.items() if key not in units}
    if seconds > MAX_TIMEOUT_S:
        return None
    for key, given in value.items():
        alone = all(_changes_nothing(other, item) for other, item in value.items() if other != key)
        for text in _strings([given]):
            if alone and shell_input(shell.schema, text).get(key) == given:
                return text, int(seconds) if seconds == int(seconds) else seconds
    return None


def _changes_nothing(key: str, value: Any) -> bool:
    """Whether the command does the same without this property."""
    return key in _NO_EFFECT or not value or (key in _FOLDERS and value in _HERE)


def _strings(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _strings(value)


def _stop(dialect: Dialect, response: Any) -> Json:
    if isinstance(response, str):
        stop = reduce(dialect.add_event, sse.objects(response), NO_EVENTS).stop
    else:
        stop = dialect.parse_response(compact(response).encode()).stop
    return {"stop": stop} if stop else {}


def _tokens(usage: Usage) -> Json:
    tokens = {key: getattr(usage, kind) for key, kind in _USAGE.items() if getattr(usage, kind)}
    return {"usage": tokens} if tokens else {}


class _Dumper(yaml.SafeDumper):
    """Writes longer texts as blocks and small mappings on one line, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _mapping(dumper: yaml.SafeDumper, value: Json) -> yaml.Node:
    numbers = all(isinstance(item, int) for item in value.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=numbers)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)
