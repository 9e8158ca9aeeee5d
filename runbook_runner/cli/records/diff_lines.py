"""Command line: a diff of runs in sections of lines, for the terminal and for the page."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from runbook_runner.core.text import counted, decoded_name
from runbook_runner.runner.diff import Calls, Change, Diff, Side

Kind = Literal["same", "one", "two", "hint", "bad", "plain"]
_MOST_PAIRS: Final = 30
_MOST_FILES: Final = 100
_LONGEST: Final = 2_000
_CALL_LINES: Final = 8


class Section(NamedTuple):
    title: str
    is_same: bool | None
    """`None`: what it shows does not count."""
    lines: tuple[tuple[Kind, str], ...] = ()
    """Texts may have several lines, and come from elsewhere."""
    is_prose: bool = False
    """Its lines are read to their ends: they are wrapped where the others are cut."""


def sections(found: Diff) -> Iterator[Section]:
    if found.calls is not None:
        counting = [change for change in found.spec if change.counts]
        others = [change for change in found.spec if not change.counts]
        mission = tuple(_of_diff(found.mission))
        yield _known("mission", found, lambda side: side.mission, not mission, mission)
        yield _known("what was asked for", found, lambda side: side.spec, not counting, tuple(_pairs(counting)))
        is_same = not any(change.counts for change in found.outcome)
        yield Section("outcome", is_same, tuple(_pairs(found.outcome)), is_prose=True)
        if others:
            yield Section("where and with what", None, tuple(_pairs(others)))
        yield Section("phases", None, tuple(_table(found.phases)))
        if found.usage:
            yield Section("tokens and cost", None, tuple(_table(found.usage)))
        yield _calls(found.calls)
    yield _results(found)


def _known(
    title: str, found: Diff, recorded: Callable[[Side], object], is_same: bool, lines: tuple[tuple[Kind, str], ...]
) -> Section:
    """recorded: what a side has of it; where one has nothing, there is nothing to compare."""
    without = [side.name for side in (found.one, found.two) if not recorded(side)]
    return (
        Section(f"{title}: not recorded of {' and '.join(without)}", None)
        if without
        else Section(title, is_same, lines)
    )


def _pairs(changes: Iterable[Change]) -> Iterator[tuple[Kind, str]]:
    for change in changes:
        yield "plain", change.what
        yield "one", "\n".join(f"- {line}" for line in _cut(change.one).splitlines())
        yield "two", "\n".join(f"+ {line}" for line in _cut(change.two).splitlines())


def _table(changes: Iterable[Change]) -> Iterator[tuple[Kind, str]]:
    rows = [(change.what, change.one, change.two) for change in changes]
    wide = [max(len(row[n][:40]) for row in rows) for n in range(3)] if rows else []
    for what, one, two in rows:
        yield "plain", f"{what[:40]:<{wide[0]}}  {one[:40]:>{wide[1]}}  {two[:40]:>{wide[2]}}"


def _calls(calls: Calls) -> Section:
    if calls.first_difference is None:
        told: list[tuple[Kind, str]] = []
        if calls.all[0] > len(calls.one):
            told.append(("hint", f"! only the first {len(calls.one):,} are compared"))
        return Section(f"{counted(calls.all[0], 'tool call')}, the same", True, tuple(told))
    at = calls.first_difference
    title = f"tool call {at} is the first that differs ({calls.all[0]:,} and {calls.all[1]:,} calls)"
    lines: list[tuple[Kind, str]] = []
    if at > 1:
        lines.append(("hint", f"  {counted(at - 1, 'call')} before, the same"))
    for number, pair in enumerate(calls.pairs[:_MOST_PAIRS]):
        most = _CALL_LINES if number == 0 else 1
        if pair.kind == "same" and pair.one is not None:
            lines.append(("same", f"  {pair.one + 1} {_first_lines(calls.one[pair.one], 1)}"))
            continue
        if pair.one is not None:
            lines.append(("one", f"- {pair.one + 1} {_first_lines(calls.one[pair.one], most)}"))
        if pair.two is not None:
            lines.append(("two", f"+ {pair.two + 1} {_first_lines(calls.two[pair.two], most)}"))
    left = max(calls.all) - (at - 1) - _MOST_PAIRS
    if left > 0:
        lines.append(("hint", f"… {counted(left, 'more call')}"))
    return Section(title, False, tuple(lines))


def _results(found: Diff) -> Section:
    results = found.results
    is_same = not (found.changed or found.lacking)
    lines: list[tuple[Kind, str]] = []
    diffs = dict(results.diffs)
    for path in results.changed[:_MOST_FILES]:
        told = found.by_type.get(path)
        name = decoded_name(path)
        if told == ():
            lines.append(("hint", f"{name}: only its bytes differ, by its type it is the same"))
            continue
        lines.append(("plain", f"{name} differs"))
        if path in diffs:
            lines += _of_diff(diffs[path])
        else:
            lines += (("bad", f"  {sentence}") for sentence in (told or ())[:10])
    words = _words(found)
    kinds: tuple[Kind, Kind] = ("one", "two")
    for paths, (_, said), kind in zip((results.missing, results.extra), words, kinds, strict=True):
        lines += ((kind, f"{decoded_name(path)} {said}") for path in paths[:_MOST_FILES])
    left = sum(max(0, len(paths) - _MOST_FILES) for paths in (results.changed, results.missing, results.extra))
    if left:
        lines.append(("hint", f"… {counted(left, 'more file')}"))
    title = f"results: {counted(len(results.same), 'file')} the same"
    counts = {"changed": len(results.changed), words[0][0]: len(results.missing), words[1][0]: len(results.extra)}
    title += "".join(f", {count:,} {word}" for word, count in counts.items() if count)
    return Section(title, is_same, tuple(lines))


def _words(found: Diff) -> tuple[tuple[str, str], tuple[str, str]]:
    """Of results that only the first has, and only the second: in the title, and behind the file's name."""
    lacks, more = ("missing", "is expected and was not made"), ("not expected", "is not among what is expected")
    if found.two.tree is None:
        return more, lacks
    if found.one.tree is None:
        return lacks, more
    return tuple((f"only in {side.name}", f"is only in {side.name}") for side in (found.one, found.two))  # type: ignore[return-value]


def _of_diff(text: str) -> Iterator[tuple[Kind, str]]:
    for line in text.splitlines():
        kinds: dict[str, Kind] = {"-": "one", "+": "two"}
        yield kinds.get(line[:1], "same"), _cut(line)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _first_lines(text: str, most: int) -> str:
    lines = _cut(text).splitlines() or [""]
    more = len(lines) - most
    return "\n    ".join(lines[:most]) + (f" … {counted(more, 'more line')}" if more > 0 else "")
