"""Workflows: paths, which say where a value of a step comes from: `draft.outputs.items[0].name` (contract §6.3).

A path that leads nowhere is no error: its value is `Absent`, which says why, and the step then lacks a parameter."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import counted, did_you_mean

INIT_PARAMS: Final = "init_params"
ENV: Final = "env"
ROOTS: Final = (INIT_PARAMS, ENV)
"""No step has such a name."""

_NAME: Final = r"[A-Za-z0-9_-]{1,128}"
_ID: Final = r"[0-9a-f]{8}"
_FOLDER: Final = r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}"
_RUN: Final = rf"(?:(?P<collection>{_FOLDER})/)?(?P<task>{_FOLDER})/(?P<id>{_ID})\."
_HEAD: Final = re.compile(rf"(?:{_RUN})?(?P<root>{_NAME})")
_SEGMENT: Final = re.compile(rf"\.(?P<name>{_NAME})|\[(?P<index>-?[0-9]{{1,9}})\]|(?P<all>\[\*\])")
_MOST_SEGMENTS: Final = 100
_INLINE: Final = re.compile(r"\{\{([^{}\n]{1,2000})\}\}")
_MOST_SHOWN: Final = 10
_MOST_VALUES: Final = 1_000_000
"""That a path may lead to: each wildcard may multiply them."""


class All(NamedTuple):
    """`[*]`."""


ALL: Final = All()
Segment = str | int | All


class Run(NamedTuple):
    """Another run, whose values a path reads."""

    collection: str | None
    """`None`: that of the workflow."""
    task: str
    trajectory_id: str

    def __str__(self) -> str:
        return "/".join(filter(None, self))


class Path(NamedTuple):
    run: Run | None
    root: str
    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return (f"{self.run}." if self.run else "") + self.root + _spelt(self.segments)


@dataclass(frozen=True)
class Absent:
    """What a path that leads nowhere leads to."""

    why: str
    """A sentence."""

    def __bool__(self) -> bool:
        return False


def parse_path(text: str) -> Path:
    """Raises InputError that says where the text is no path."""
    head = _HEAD.match(text)
    if not head:
        raise InputError(f"{text[:80]!r} is no path: it begins with no name of a step, {INIT_PARAMS} or {ENV}.")
    end, segments = head.end(), list[Segment]()
    while end < len(text):
        found = _SEGMENT.match(text, end)
        if not found:
            raise InputError(f"{text[:80]!r} is no path: `.name`, `[0]` or `[*]` is expected at character {end + 1}.")
        if len(segments) == _MOST_SEGMENTS:
            raise InputError(f"The path {text[:80]!r}… has more than {_MOST_SEGMENTS} parts.")
        segments.append(found["name"] if found["name"] else int(found["index"]) if found["index"] else ALL)
        end = found.end()
    run = Run(head["collection"], head["task"], head["id"]) if head["id"] else None
    return Path(run, head["root"], tuple(segments))


def as_path(text: str, roots: Sequence[str] | Mapping[str, Any]) -> Path | None:
    """The path that a text is, when its root is one of these, or of another run; else `None`: it may be any text."""
    try:
        path = parse_path(text)
    except InputError:
        return None
    return path if path.run or path.root in roots else None


def find(path: Path, values: Mapping[str, Any]) -> Any:
    """What the path leads to, or `Absent`. values: by root; of the path's run, if it names one. After a wildcard, what
    is missing in a value is left out; further wildcards make one list. Raises InputError for a path that leads to
    more than a million values."""
    if path.root not in values:
        known = ", ".join(repr(name) for name in [*values][:_MOST_SHOWN])
        meant = did_you_mean(path.root, values)
        return Absent(f"There is no {path.root!r} yet. {meant or f'There are: {known}.' if known else ''}".strip())
    value = values[path.root]
    for number, segment in enumerate(path.segments):
        if segment is ALL:
            if not isinstance(value, list):
                return _absent(path, number, value)
            return _each(value, path.segments[number + 1 :])
        following = _follow(value, segment)
        if isinstance(following, Absent):
            return _absent(path, number, value)
        value = following
    return value


_NOTHING: Final = Absent("")


def _follow(value: Any, segment: Segment) -> Any:
    if isinstance(segment, str):
        return value.get(segment, _NOTHING) if isinstance(value, Mapping) else _NOTHING
    if isinstance(segment, int) and isinstance(value, list) and -len(value) <= segment < len(value):
        return value[segment]
    return _NOTHING


def _each(values: list[Any], segments: Sequence[Segment]) -> list[Any]:
    found = values
    for segment in segments:
        if segment is ALL:
            lists = [value for value in found if isinstance(value, list)]
            if sum(map(len, lists)) > _MOST_VALUES:
                raise InputError(f"A path leads to more than {_MOST_VALUES:,} values.")
            found = [inner for value in lists for inner in value]
        else:
            found = [inner for value in found if not isinstance(inner := _follow(value, segment), Absent)]
    return found


def _absent(path: Path, number: int, value: Any) -> Absent:
    """value: what the segment of this number was looked for in."""
    before, segment = str(path._replace(segments=path.segments[:number])), path.segments[number]
    if isinstance(segment, str) and isinstance(value, Mapping):
        keys = ", ".join(repr(key) for key in [*value][:_MOST_SHOWN])
        meant = did_you_mean(segment, map(str, value)) or (f"It has: {keys}." if keys else "It is empty.")
        return Absent(f"{before} has no {segment!r}. {meant}")
    if isinstance(segment, int) and isinstance(value, list):
        return Absent(f"{before} has {counted(len(value), 'item')}, and no {_spelt((segment,))}.")
    return Absent(f"{before} is {kind_of(value)}, which has no {_spelt((segment,)).removeprefix('.')}.")


def kind_of(value: Any) -> str:
    """`a list`, `text`, …: a value of JSON in words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _spelt(segments: Sequence[Segment]) -> str:
    return "".join("[*]" if part is ALL else f"[{part}]" if isinstance(part, int) else f".{part}" for part in segments)


def inline(text: str, value_of: Callable[[str], Any]) -> str:
    """The text with the value of each `{{ path }}` in it: text as it is, anything else as JSON. value_of: of the inside
    of such a place; `Absent` leaves it as it is written. One pass: a value is not looked through."""

    def replaced(match: "re.Match[str]") -> str:
        value = value_of(match[1].strip())
        return match[0] if isinstance(value, Absent) else as_text(value)

    return _INLINE.sub(replaced, text) if "{{" in text else text


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
