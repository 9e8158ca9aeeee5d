"""Gateway: recognises a request among recorded ones: the same, or the nearest that could have been it."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.request_parts import Place, is_tool_output, places
from runbook_runner.gateway.replay.volatile import ID_KEYS, Settle

Kind = tuple[str, str, bool]
"""Dialect, operation, and whether an event stream was asked for: an answer of one kind is no answer to another."""

_NEAREST: Final = 3
_TOOL_OUTPUT: Final = "<tool output>"
_CACHE_KEY: Final = "cache_control"  # where a client marks its cache moves as the conversation grows
UNCOMPARED_KEYS: Final = ID_KEYS | {_CACHE_KEY}


@dataclass(frozen=True)
class Part:
    exact: bytes
    """Digest without what is volatile."""
    shape: bytes
    """Digest that is also blind to what tools printed."""


@dataclass(frozen=True)
class Profile:
    """A request as it is compared."""

    kind: Kind
    key: bytes
    """Equal for requests that are exactly the same but for what is volatile."""
    groups: Mapping[str, tuple[Part, ...]]

    def distance(self, other: "Profile") -> int:
        """How many parts differ, blind to what tools printed: a cheap measure to find candidates by."""
        return sum(
            _unequal(self.groups.get(key, ()), other.groups.get(key, ())) for key in {*self.groups, *other.groups}
        )


def _unequal(one: tuple[Part, ...], two: tuple[Part, ...]) -> int:
    common = sum(a.shape == b.shape for a, b in zip(one, two, strict=False))
    if len(one) == len(two):
        return len(one) - common
    # Something was put in or left out: what stands behind it may still be the same.
    tail = 0
    while tail < min(len(one), len(two)) and one[-1 - tail].shape == two[-1 - tail].shape:
        tail += 1
    return max(len(one), len(two)) - max(common, min(common + tail, len(one), len(two)))


class Profiler:
    """Makes profiles. Requests repeat the conversation, so each part is looked at once."""

    def __init__(self, settle: Settle):
        self._settle = settle
        self._known: dict[tuple[str, bytes], Part] = {}

    def profile(self, kind: Kind, model: str, body: Json, clean: Callable[[Any], Any] = lambda value: value) -> Profile:
        """clean: what the recording did to the request before it was kept."""
        groups: dict[str, list[Part]] = defaultdict(list)
        whole = hashlib.sha256()
        for place in places(model, body):
            part = self._part(place, clean)
            groups[place.group].append(part)
        for key in sorted(groups):
            whole.update(key.encode("utf-8", "replace") + b"\0" + b"".join(part.exact for part in groups[key]))
        return Profile(kind, whole.digest(), {key: tuple(parts) for key, parts in groups.items()})

    def _part(self, place: Place, clean: Callable[[Any], Any]) -> Part:
        seen = place.origin, hashlib.sha256(_canonical(place.value)).digest()
        if seen not in self._known:
            value = clean(place.value)
            settle = str if place.origin == "model" else self._settle
            exact = settled(value, settle, in_output=place.origin == "tool output")
            blind = _TOOL_OUTPUT if place.origin == "tool output" else _blind(exact)
            self._known[seen] = Part(_digest(exact), _digest(blind))
        return self._known[seen]


def settled(value: Any, settle: Settle, *, in_output: bool = False) -> Any:
    """The value without what is volatile; what tools printed stays as it is."""
    in_output = in_output or is_tool_output(value)
    if isinstance(value, str):
        return value if in_output else settle(value)
    if isinstance(value, dict):
        return {
            key: "<id>" if key in ID_KEYS and isinstance(item, str) else settled(item, settle, in_output=in_output)
            for key, item in value.items()
            if key != _CACHE_KEY
        }
    if isinstance(value, list):
        return [settled(item, settle, in_output=in_output) for item in value]
    return value


def _blind(value: Any) -> Any:
    if is_tool_output(value):
        return _TOOL_OUTPUT
    if isinstance(value, dict):
        return {key: _blind(item) for key, item in value.items()}
    return [_blind(item) for item in value] if isinstance(value, list) else value


def nearest(asked: Profile, recorded: Iterable[tuple[int, Profile]], used: Mapping[int, int]) -> list[int]:
    """The numbers of the recorded requests most like this one, best first; those that were not served yet go first
    among equals. used: number → how often it was served."""
    same_kind = [(number, profile) for number, profile in recorded if profile.kind == asked.kind]
    ranked = sorted((asked.distance(profile), used.get(number, 0), number) for number, profile in same_kind)
    return [number for _, _, number in ranked[:_NEAREST]]


def _digest(value: Any) -> bytes:
    return hashlib.sha256(_canonical(value)).digest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
