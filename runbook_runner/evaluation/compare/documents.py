"""Evaluation, compare: JSON documents, by values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.evaluation.compare.quotes import cut, shown, told
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError
from runbook_runner.evaluation.compare.values import real, same

_LINES = (".jsonl", ".ndjson")
_LONGEST_PLACE = 200

Tree = dict[str, Any]
"""Parts of ignored pointers → those that follow; without any, a pointer ends there."""


def read(path: Path) -> Any:
    with open_regular(path) as file:
        data = file.read()
    if path.suffix.lower() not in _LINES:
        return _value(data, 0)
    return [_value(line, number) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]


def _value(data: bytes, line: int) -> Any:
    """line: the number of the only line that this is; 0 when it is a whole file."""
    try:
        return read_json(data.removeprefix(b"\xef\xbb\xbf"), "", is_bounded=False, real=real)
    except InputError as error:
        at = line or (error.where or "").lstrip(":")
        raise UnreadableError(f"{f'line {at}: ' if at else ''}{error.message}".rstrip(".")) from error


def compare(expected: Any, found: Any, rule: Rule) -> Iterator[str]:
    return _differences(expected, found, "", [_tree(rule.ignore)], rule.tolerance)


def _tree(pointers: Sequence[str]) -> Tree:
    """Longer pointers come first, so that a shorter one replaces them."""
    top: Tree = {}
    for parts in sorted((pointer.split("/")[1:] for pointer in pointers), key=len, reverse=True):
        *before, last = (part.replace("~1", "/").replace("~0", "~") for part in parts)  # RFC 6901, section 4
        node = top
        for part in before:
            node = node.setdefault(part, {})
        node[last] = {}
    return top


def _differences(expected: Any, found: Any, at: str, ignored: Sequence[Tree], tolerance: float) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        one, two = expected, found
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{_place(at)}: {told(expected, found)}."
        length = min(len(expected), len(found))
        one, two = ({str(n): items[n] for n in range(length)} for items in (expected, found))
    elif same(expected, found, tolerance):
        return
    else:
        yield f"{_place(at)}: {told(expected, found)}."
        return
    for key in one | two:
        ahead = [tree[part] for tree in ignored for part in {key, "*"} & tree.keys()]
        if not all(ahead):
            continue
        inner = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in two:
            yield f"{_place(inner)} is missing: {shown(one[key])}."
        elif key not in one:
            yield f"{_place(inner)} is not expected: {shown(two[key])}."
        else:
            yield from _differences(one[key], two[key], inner, ahead, tolerance)


def _place(pointer: str) -> str:
    return cut(pointer, _LONGEST_PLACE) if pointer else "The document"
