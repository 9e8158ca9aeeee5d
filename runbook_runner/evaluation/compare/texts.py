"""Evaluation, compare: texts, line by line."""

from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from itertools import zip_longest
from pathlib import Path

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.patterns import without
from runbook_runner.evaluation.compare.quotes import shown, told
from runbook_runner.evaluation.compare.rule import Rule


def read(path: Path) -> Iterable[str]:
    """The lines. A byte that is not UTF-8 is the lone surrogate that Python has for it, which no text has."""
    return TextIOWrapper(open_regular(path), encoding="utf-8-sig", errors="surrogateescape")


def compare(expected: Iterable[str], found: Iterable[str], rule: Rule, place: str = "Line") -> Iterator[str]:
    """The first line that differs. place: what messages write before its number."""
    for number, (one, two) in enumerate(zip_longest(expected, found), 1):
        if one is None:
            yield f"{place} {number} is not expected: {shown(two.rstrip())}."
            return
        if two is None:
            yield f"{place} {number} is missing: {shown(one.rstrip())}."
            return
        if one != two and (kept := _kept(one, rule)) != (kept_too := _kept(two, rule)):
            yield f"{place} {number}: {told(kept, kept_too, (one, two) if rule.ignore else ('', ''))}."
            return


def _kept(line: str, rule: Rule) -> str:
    """What counts of a line."""
    line = line.rstrip()
    for pattern in rule.ignore:
        line = without(pattern, line)
    return line.rstrip()
