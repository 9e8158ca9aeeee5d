"""Evaluation: gates: what a run must reach so that a script goes on: `verdict`, `score>=4.0`, `cost<=1.5`."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import did_you_mean

_CONDITIONS: Final = ("verdict", "outputs", "no-error")
METRICS: Final[Mapping[str, str]] = {
    "score": "the mean of the judge's scores",
    "cost": "US dollars of the model calls",
    "seconds": "the time of the run",
    "tokens": "tokens of the model calls",
    "calls": "model calls",
}
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_MEANT: Final[Mapping[str, str]] = {"=>": ">=", "=<": "<=", "=": "==", "≥": ">=", "≤": "<="}
_OTHER: Final = re.compile(r"\s*([a-z]+)\s*(=>|=<|=|≥|≤)\s*([\d.]+)\s*", re.IGNORECASE)
"""What is written for a comparison by mistake."""
_GATE: Final = re.compile(r"\s*([a-z-]+)\s*(?:(>=|<=|==|>|<)\s*(\S+)\s*)?", re.IGNORECASE)


class Gate(NamedTuple):
    name: str
    comparison: str = ""
    limit: float = 0.0

    def __str__(self) -> str:
        return f"{self.name}{self.comparison}{self.limit:g}" if self.comparison else self.name


class Reached(NamedTuple):
    gate: Gate
    holds: bool
    why: str
    """Why it does not hold; empty when it does."""


@dataclass(frozen=True)
class Facts:
    """What gates are about, of one run."""

    verdict: str | None
    reasons: tuple[str, ...]
    """Why the verdict is not a pass."""
    missing: tuple[str, ...]
    """Required outputs that are missing or empty."""
    error: str | None
    """What ended the run early."""
    metrics: Mapping[str, float | None]
    """By name; `None`: it is not known."""


def parse_gate(text: str) -> Gate:
    """Raises InputError."""
    match = _GATE.fullmatch(text)
    name = match[1].lower() if match else ""
    if match is None or name not in (*_CONDITIONS, *METRICS):
        known = (*_CONDITIONS, *(f"{metric}{_usual(metric)}N" for metric in METRICS))
        hint = _meant(text) or did_you_mean(name, (*_CONDITIONS, *METRICS)) or f"Known: {', '.join(known)}."
        raise InputError(f"{text!r} is not a gate.", hint=hint)
    if (name in METRICS) != bool(match[2]):
        form = f"{name}{_usual(name)}{4 if name == 'score' else 1.5}" if name in METRICS else name
        raise InputError(f"The gate {text!r} is not complete.", hint=f"Write it like {form}.")
    return Gate(name, match[2], _number(match[3], text)) if match[2] else Gate(name)


def _usual(metric: str) -> str:
    return ">=" if metric == "score" else "<="


def _meant(text: str) -> str | None:
    """`score=>4` → `Did you mean 'score>=4'?`; `None` for another mistake."""
    match = _OTHER.fullmatch(text)
    if match is None or match[1].lower() not in METRICS:
        return None
    return f"Did you mean '{match[1].lower()}{_MEANT[match[2]]}{match[3]}'?"


def _number(word: str, gate: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"The gate {gate!r} has no number behind its comparison.", hint="Write it like cost<=1.5.")
    return number


def reached(gates: Iterable[Gate], facts: Facts) -> tuple[Reached, ...]:
    """Each gate, with what came of it. What is not known holds no gate."""
    return tuple(Reached(gate, not (why := _why_not(gate, facts)), why) for gate in gates)


def _why_not(gate: Gate, facts: Facts) -> str:
    if gate.name == "no-error":
        return facts.error or ""
    if gate.name == "outputs":
        return f"not there: {', '.join(facts.missing)}" if facts.missing else ""
    if gate.name == "verdict":
        return "" if facts.verdict == "pass" else "; ".join(facts.reasons) or facts.error or "there is no verdict"
    found = facts.metrics.get(gate.name)
    if found is None:
        hint = "; --judge-model asks a judge" if gate.name == "score" else ""
        return f"{METRICS[gate.name]}: not known{hint}"
    return "" if _COMPARE[gate.comparison](found, gate.limit) else f"it is {found:g}"
