"""Gateway: profiles of requests, by which the same or the nearest recorded request is found quickly."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runbook_runner.gateway.cassette.dedup import quick_bytes
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.request_parts import RequestPart, is_tool_output, request_parts
from runbook_runner.gateway.replay.volatile import AS_IS, ID_KEYS, Normalise

Kind = tuple[str, str, bool]
"""Dialect, operation, and whether an event stream was asked for: an answer of one kind does not fit another."""

_NEAREST: Final = 3
_TOOL_OUTPUT: Final = "<tool output>"
_CACHE_KEY: Final = "cache_control"  # a client sets it elsewhere as the conversation grows
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
UNCOMPARED_KEYS: Final = ID_KEYS | {_CACHE_KEY}


@dataclass(frozen=True)
class PartDigests:
    """Of one part of a request."""

    exact: bytes
    """Without what is volatile."""
    shape: bytes
    """Also without what tools printed."""


@dataclass(frozen=True)
class Profile:
    """The digests of a request by which it is compared."""

    kind: Kind
    key: bytes
    """Equal for requests that are the same except for what is volatile."""
    groups: Mapping[str, tuple[PartDigests, ...]]

    def distance(self, other: "Profile") -> int:
        """Returns how many parts differ, apart from what tools printed: a cheap measure to find candidates by."""
        return sum(
            _unequal(self.groups.get(key, ()), other.groups.get(key, ())) for key in {*self.groups, *other.groups}
        )


def _unequal(one: tuple[PartDigests, ...], two: tuple[PartDigests, ...]) -> int:
    common = sum(a.shape == b.shape for a, b in zip(one, two, strict=False))
    if len(one) == len(two):
        return len(one) - common
    # Parts were inserted or left out: those that follow may still be the same.
    tail = 0
    while tail < min(len(one), len(two)) and one[-1 - tail].shape == two[-1 - tail].shape:
        tail += 1
    return max(len(one), len(two)) - max(common, min(common + tail, len(one), len(two)))


class Profiler:
    """Makes profiles. Requests repeat the conversation, so each part is digested once."""

    def __init__(self, normalise: Normalise):
        self._normalise = normalise
        self._known: dict[tuple[str, bytes], PartDigests] = {}

    def profile(self, kind: Kind, model: str, body: Json, clean: Callable[[Any], Any] = lambda value: value) -> Profile:
        """clean: what was done to a request before it was recorded."""
        groups: dict[str, list[PartDigests]] = defaultdict(list)
        whole = hashlib.sha256()
        for part in request_parts(model, body):
            digests = self._part(part, clean)
            groups[part.group].append(digests)
        for key in sorted(groups):
            whole.update(key.encode("utf-8", "replace") + b"\0" + b"".join(digests.exact for digests in groups[key]))
        return Profile(kind, whole.digest(), {key: tuple(parts) for key, parts in groups.items()})

    def _part(self, part: RequestPart, clean: Callable[[Any], Any]) -> PartDigests:
        seen = part.origin, hashlib.sha256(quick_bytes(part.value)).digest()
        if seen not in self._known:
            value = clean(part.value)
            normalise = AS_IS if part.origin == "model" else self._normalise
            exact = normalised(value, normalise, in_output=part.origin == "tool output")
            blind = _TOOL_OUTPUT if part.origin == "tool output" else _blind(exact)
            self._known[seen] = PartDigests(_digest(exact), _digest(blind))
        return self._known[seen]


def normalised(value: Any, normalise: Normalise, *, in_output: bool = False) -> Any:
    """Returns the value without what is volatile."""
    in_output = in_output or is_tool_output(value)
    if isinstance(value, str):
        return normalise.output(value) if in_output else normalise.text(value)
    if isinstance(value, dict):
        return {
            key: "<id>"
            if key in ID_KEYS and isinstance(item, str)
            else normalised(item, normalise, in_output=in_output)
            for key, item in value.items()
            if key != _CACHE_KEY
        }
    if isinstance(value, list):
        return [normalised(item, normalise, in_output=in_output) for item in value]
    return value


def _blind(value: Any) -> Any:
    if is_tool_output(value):
        return _TOOL_OUTPUT
    if isinstance(value, dict):
        return {key: _blind(item) for key, item in value.items()}
    return [_blind(item) for item in value] if isinstance(value, list) else value


def nearest(asked: Profile, recorded: Iterable[tuple[int, Profile]], used: Mapping[int, int]) -> list[int]:
    """Returns the numbers of the recorded requests most like this one, best first; among equals those that were not
    served yet go first. used: number → how often it was served."""
    same_kind = [(number, profile) for number, profile in recorded if profile.kind == asked.kind]
    ranked = sorted((asked.distance(profile), used.get(number, 0), number) for number, profile in same_kind)
    return [number for _, _, number in ranked[:_NEAREST]]


def _digest(value: Any) -> bytes:
    return hashlib.sha256(_CANONICAL.encode(value).encode()).digest()
