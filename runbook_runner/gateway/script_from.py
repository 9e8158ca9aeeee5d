"""Gateway: a model script out of a recording, for people to edit."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml

from runbook_runner.errors import InputError
from runbook_runner.events import Usage
from runbook_runner.gateway.answers import Said, said
from runbook_runner.gateway.cassette import Exchange
from runbook_runner.gateway.dialects.base import Ask, Json
from runbook_runner.gateway.library import Entry, Library
from runbook_runner.gateway.shell_tool import find_shell, shell_input

_WIDTH: Final = 110
_USAGE: Final = {
    "input": "prompt_tokens",
    "output": "completion_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}


def script_from(library: Library) -> str:
    """The recorded turns as a model script. Side requests and failed attempts are no turns. Raises InputError when
    there are none, or the recording is damaged."""
    turns = [_turn(entry, library.exchange(entry.number)) for entry in _turns(library)]
    if not turns:
        raise InputError("No answer of a model is recorded here.", where=str(library.folder))
    return "\n".join(
        yaml.dump([turn], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH) for turn in turns
    )


def _turns(library: Library) -> Iterator[Entry]:
    """One answer a question: what a client asked again was lost to it."""
    asked = set()
    for entry in library.entries:
        if entry.is_turn and entry.profile.key not in asked:
            asked.add(entry.profile.key)
            yield entry


def _turn(entry: Entry, exchange: Exchange) -> Json:
    answer = said(entry.call.dialect, exchange.response)
    ask = entry.dialect.ask(entry.call.path.partition("?")[0], exchange.request)
    turn: Json = {}
    if answer.thinking:
        turn["think"] = answer.thinking
    if answer.text is not None or not (answer.calls or answer.thinking):
        turn["say"] = answer.text or ""
    return turn | _called(answer, ask) | _used(entry.call.usage)


def _called(answer: Said, ask: Ask) -> Json:
    """Commands for whatever shell tool there is, where nothing is lost by it: such a script drives any agent."""
    commands = [_command(call, ask) for call in answer.calls]
    known = [command for command in commands if command is not None]
    if known and len(known) == len(commands):
        return {"shell": known[0] if len(known) == 1 else known}
    tools = [{"name": name, **({"input": value} if value else {})} for name, value in answer.calls]
    return {"tool": tools[0]} if len(tools) == 1 else {"tools": tools} if tools else {}


def _command(call: tuple[str, Json], ask: Ask) -> str | None:
    name, value = call
    shell = find_shell(ask.tools)
    if shell is None or shell.name != name:
        return None
    return next((text for text in _strings(value.values()) if shell_input(shell.schema, text) == value), None)


def _strings(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _strings(value)


def _used(usage: Usage) -> Json:
    tokens = {ours: getattr(usage, theirs) for ours, theirs in _USAGE.items() if getattr(usage, theirs)}
    return {"usage": tokens} if tokens else {}


class _Dumper(yaml.SafeDumper):
    """Longer texts as blocks, small mappings on one line: as people write such a file."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _mapping(dumper: yaml.SafeDumper, value: Json) -> yaml.Node:
    numbers = all(isinstance(item, int) for item in value.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=numbers)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)
