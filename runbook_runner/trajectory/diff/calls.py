"""Trajectory, diff: the tool calls of two runs."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, NamedTuple, TypeVar

from runbook_runner.core.events import ToolCalled

Comparable = TypeVar("Comparable", int, str)

_SIDE_BY_SIDE = 16
_ALIGNED = 300  # calls; that takes up to cubic time, and both logs may come from others


@dataclass(frozen=True)
class CallsCompared:
    recorded: int
    repeated: int
    first_difference: int | None
    """1-based number of the first call that differs; `None` when all are the same."""

    @property
    def identical(self) -> bool:
        return self.first_difference is None


class Pair(NamedTuple):
    """Calls that stand beside each other."""

    kind: Literal["same", "changed", "removed", "added"]
    one: int | None
    """0-based number in the first run; `None`: only the second one has it."""
    two: int | None


def compare_calls(
    recorded: Iterable[ToolCalled], repeated: Iterable[ToolCalled], in_other: Callable[[str], str]
) -> CallsCompared:
    """in_other: as for `compare_results`. Calls are the same when name and input are; of each only a hash is held."""
    one = array("q", (hash(in_other(spelled(call))) for call in recorded))
    two = array("q", (hash(spelled(call)) for call in repeated))
    return CallsCompared(len(one), len(two), first_difference(one, two))


def first_difference(one: Sequence[Comparable], two: Sequence[Comparable]) -> int | None:
    """The number of the first call that differs, 1-based; `None` when all are the same. Each is a text or the hash of
    one. Calls of one answer run side by side, and agents report them in any order."""
    at = 0
    while at < max(len(one), len(two)):
        windows = ((one[at : at + size], two[at : at + size]) for size in range(1, _SIDE_BY_SIDE + 1))
        same = next((len(a) for a, b in windows if sorted(a) == sorted(b)), None)
        if same is None:
            return at + 1
        at += same
    return None


def aligned(one: list[str], two: list[str], begin: int) -> list[Pair]:
    """Of the calls from number `begin` on, 0-based, as many as can be aligned in a bounded time."""
    pairs: list[Pair] = []
    left, right = one[begin : begin + _ALIGNED], two[begin : begin + _ALIGNED]
    for _, i, i_end, j, j_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        both = min(i_end - i, j_end - j)
        for n in range(both):
            kind: Literal["same", "changed"] = "same" if left[i + n] == right[j + n] else "changed"
            pairs.append(Pair(kind, begin + i + n, begin + j + n))
        pairs += [Pair("removed", begin + n, None) for n in range(i + both, i_end)]
        pairs += [Pair("added", None, begin + n) for n in range(j + both, j_end)]
    return pairs


def spelled(call: ToolCalled) -> str:
    """What makes calls the same: name and input. Of a block of the runbook it does not matter at which line it stands:
    an edit above moves it."""
    left_out = {"input": {"line"}} if {"code", "heading", "line"} <= call.input.keys() else None
    return call.model_dump_json(include={"name", "input"}, exclude=left_out)
