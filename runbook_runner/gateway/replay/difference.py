"""Gateway: compares a request with a recorded one, field by field and line by line, and rates the differences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Final, Literal

from runbook_runner.core.events import Difference
from runbook_runner.gateway.cassette.dedup import compact
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.matching import UNCOMPARED_KEYS, normalised
from runbook_runner.gateway.replay.request_parts import (
    CONVERSATION_KEYS,
    Origin,
    RequestPart,
    is_client_context,
    is_tool_output,
    request_parts,
)
from runbook_runner.gateway.replay.volatile import AS_IS, Normalise, without_redaction_marks

Severity = Literal["exact", "minor", "major", "miss"]

# A recorded answer fits only what the model had said and done before. Another mission or model makes it doubtful. What
# tools print, and how the client words its system prompt, may differ.
_SEVERITY: Final[dict[Origin, Severity]] = {
    "model": "miss",
    "user": "major",
    "model name": "major",
    "system": "minor",
    "tools": "minor",
    "tool output": "minor",
    "settings": "minor",
}
_RANK: Final[dict[Severity, int]] = {"exact": 0, "minor": 1, "major": 2, "miss": 3}
MAX_SHOWN: Final = 10
_MAX_CHARS: Final = 400
_ANOTHER_CLIENT: Final = 50  # with more differences in system prompt and tools it is another program
# Of pairs of lines or messages: what has more is not aligned, for that takes up to cubic time, and both sides may come
# from others.
_MAX_PAIRS: Final = 250_000
_MAX_PAIRS_OF_ALL: Final = 4 * _MAX_PAIRS


@dataclass(frozen=True)
class MatchResult:
    """The result of comparing two requests."""

    severity: Severity
    differences: tuple[Difference, ...]
    """The most severe first, at most MAX_SHOWN."""
    total: int

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is nearer."""
        return _RANK[self.severity], self.total


def compare(recorded: tuple[str, Json], asked: tuple[str, Json], normalise: Normalise) -> MatchResult:
    """Both as model and body, both without secrets. settle: see `volatile`."""
    found: list[tuple[Severity, Difference]] = []
    before, after = _grouped(recorded), _grouped(asked)
    alignment = _Alignment()
    for group in dict.fromkeys((*before, *after)):
        found += _groups(group, before.get(group, []), after.get(group, []), normalise, alignment)
    found.sort(key=lambda pair: -_RANK[pair[0]])
    severity: Severity = found[0][0] if found else "exact"
    if severity == "minor" and sum(d.origin in ("system", "tools") for _, d in found) > _ANOTHER_CLIENT:
        severity = "major"
    return MatchResult(severity, tuple(difference for _, difference in found[:MAX_SHOWN]), len(found))


def difference_text(difference: Difference) -> str:
    """Returns a difference for people: where it is, what was recorded, what came instead."""
    line = f", line {difference.line}" if difference.line else ""
    shown = [f"{difference.path}{line} ({difference.origin}):"]
    shown += [f"  - {text}" for text in difference.before.splitlines()]
    shown += [f"  + {text}" for text in difference.after.splitlines()]
    return "\n".join(shown)


def _grouped(request: tuple[str, Json]) -> dict[str, list[RequestPart]]:
    groups: dict[str, list[RequestPart]] = {}
    for part in request_parts(*request):
        groups.setdefault(part.group, []).append(part)
    return groups


def _groups(
    group: str, before: list[RequestPart], after: list[RequestPart], normalise: Normalise, alignment: "_Alignment"
) -> Iterator[tuple[Severity, Difference]]:
    """Yields the differences of one top-level list, whose elements are aligned when one side has more of them."""
    for one, two in _pairs(before, after, normalise, alignment):
        if one is None or two is None:
            only = one or two
            assert only is not None
            before_text, after_text = (_short(one.value), "") if one else ("", _short(only.value))
            severe = group in CONVERSATION_KEYS and only.origin in ("model", "tool output")
            yield (
                "miss" if severe else _SEVERITY[only.origin],
                Difference(path=only.path, origin=only.origin, before=before_text, after=after_text),
            )
        elif one.value != two.value:
            walk = _Walk(one.origin, normalise, alignment)
            yield from ((_SEVERITY[d.origin], d) for d in walk.values(one.path, one.value, two.value))


def _pairs(
    before: list[RequestPart], after: list[RequestPart], normalise: Normalise, alignment: "_Alignment"
) -> Iterator[tuple[RequestPart | None, RequestPart | None]]:
    if len(before) == len(after):
        yield from zip(before, after, strict=True)
        return
    one, two = ([compact(normalised(part.value, normalise)) for part in side] for side in (before, after))
    i = j = 0
    for i1, i2, j1, j2 in alignment.changed(one, two):
        yield from zip(before[i:i1], after[j:j1], strict=True)
        yield from zip_longest(before[i1:i2], after[j1:j2])
        i, j = i2, j2
    yield from zip(before[i:], after[j:], strict=True)


class _Alignment:
    """Of all lists in two requests."""

    def __init__(self) -> None:
        self._left = _MAX_PAIRS_OF_ALL

    def changed(self, one: list[str], two: list[str]) -> Iterator[tuple[int, int, int, int]]:
        """Yields what differs as `one[i1:i2]` and `two[j1:j2]`; between these they are the same."""
        shorter = min(len(one), len(two))
        start = next((n for n in range(shorter) if one[n] != two[n]), shorter)
        tail = next((n for n in range(shorter - start) if one[-1 - n] != two[-1 - n]), shorter - start)
        a, b = one[start : len(one) - tail], two[start : len(two) - tail]
        pairs = len(a) * len(b)
        if pairs > min(_MAX_PAIRS, self._left):
            yield start, start + len(a), start, start + len(b)
            return
        self._left -= pairs
        for kind, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if kind != "equal":
                yield start + i1, start + i2, start + j1, start + j2


class _Walk:
    """Compares two JSON values."""

    def __init__(self, origin: Origin, normalise: Normalise, alignment: _Alignment):
        self._origin = origin
        self._alignment = alignment
        self._normalise: Normalise = AS_IS if origin == "model" else normalise

    def values(self, path: str, before: Any, after: Any) -> Iterator[Difference]:
        if self._same(before, after):
            return
        inner = self._inside(before, after)
        if isinstance(before, dict) and isinstance(after, dict):
            for key in dict.fromkeys((*before, *after)):
                if key not in UNCOMPARED_KEYS:
                    yield from inner.values(f"{path}.{key}", before.get(key, _ABSENT), after.get(key, _ABSENT))
        elif isinstance(before, list) and isinstance(after, list):
            for n in range(max(len(before), len(after))):
                yield from inner.values(f"{path}[{n}]", _at(before, n), _at(after, n))
        elif isinstance(before, str) and isinstance(after, str):
            yield from inner._lines(path, before, after)
        else:
            yield inner._difference(path, None, _short(before), _short(after))

    def _inside(self, before: Any, after: Any) -> "_Walk":
        """Returns the walk for a part of another origin: tool output, and what a client adds about its environment."""
        origin: Origin = "tool output"
        inside: Callable[[Any], bool] = is_tool_output
        if self._origin == "user" and isinstance(before, str) and isinstance(after, str):
            origin, inside = "system", is_client_context
        return _Walk(origin, self._normalise, self._alignment) if inside(before) and inside(after) else self

    def _same(self, before: Any, after: Any) -> bool:
        normalise, output = self._normalise, self._origin == "tool output"
        return bool(normalised(before, normalise, in_output=output) == normalised(after, normalise, in_output=output))

    def _lines(self, path: str, before: str, after: str) -> Iterator[Difference]:
        one, two = before.split("\n"), after.split("\n")
        for i1, i2, j1, j2 in self._alignment.changed(self._keys(before), self._keys(after)):
            yield self._difference(path, i1 + 1, "\n".join(one[i1:i2]), "\n".join(two[j1:j2]))

    def _keys(self, text: str) -> list[str]:
        if self._origin == "tool output":
            return self._normalise.output(text).split("\n")
        return [self._normalise.text(line) for line in text.split("\n")]

    def _difference(self, path: str, line: int | None, before: str, after: str) -> Difference:
        # A secret with another name is not a difference in the text.
        equal = without_redaction_marks(before) == without_redaction_marks(after)
        origin: Origin = "settings" if equal else self._origin
        return Difference(path=path, line=line, origin=origin, before=_cut(before), after=_cut(after))


class _Absent:
    def __repr__(self) -> str:
        return ""


_ABSENT: Final = _Absent()


def _at(values: list[Any], n: int) -> Any:
    return values[n] if n < len(values) else _ABSENT


def _short(value: Any) -> str:
    return "" if value is _ABSENT else _cut(value if isinstance(value, str) else compact(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "…"
