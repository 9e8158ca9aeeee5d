"""Evaluation, compare: the files of a folder against the expected ones."""

import codecs
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import walk
from runbook_runner.core.text import counted, decoded_name
from runbook_runner.evaluation.compare.process import Ways, differences
from runbook_runner.evaluation.compare.quotes import Clean
from runbook_runner.evaluation.compare.rule import USED, Difference, How, Rule, check_ignored, how_by_name
from runbook_runner.evaluation.outputs import ResultsFolder

_MOST_DIFFERENCES: Final = 100
_MOST_BYTES: Final = 50 << 20
"""Of a file that is compared in another way than by bytes."""
_BLOCK: Final = 1 << 20
_MOST_SECONDS: Final = 300.0
"""In which all files of a folder are compared."""


def _never(stop: Callable[[], None]) -> AbstractContextManager[None]:
    return nullcontext()


def compare_folders(
    expected: Path,
    actual: Path,
    rules: Sequence[Rule] = (),
    *,
    clean: Clean,
    on_cancel: OnCancel = _never,
    seconds: float = _MOST_SECONDS,
) -> tuple[Difference, ...]:
    """Every file of `expected` has to be in `actual`, and the same by the first rule that fits its path, or by its
    type; what else is in `actual` does not matter. After 100 differences the rest is not compared. clean:
    removes the secrets of the run from what is quoted of the files: packed ones could not be searched before. seconds:
    for all of them; what is not compared then is a difference. Raises CancelledError."""
    if os.path.islink(expected):  # noqa: PTH114 - it never raises
        return (Difference(".", "The folder of expected files is a link, which is not followed."),)
    found = _differences(expected, actual, rules, Ways(clean, on_cancel, time.monotonic() + seconds))
    told = tuple(islice(found, _MOST_DIFFERENCES + 1))
    if len(told) <= _MOST_DIFFERENCES:
        return told
    return *told[:-1], Difference(told[-1].path, "This and what follows is not told: there are too many differences.")


def _differences(expected: Path, actual: Path, rules: Sequence[Rule], ways: Ways) -> Iterator[Difference]:
    by_path = _rules_of(ResultsFolder(expected), rules)
    for path in (Path(entry.path) for entry in walk(expected) if not entry.is_dir()):
        rule = by_path.get(path, Rule("**"))
        if rule.how == "ignore":
            continue
        name = path.relative_to(expected)
        for message in _compared(expected, actual, name, rule, ways):
            yield Difference(decoded_name(name.as_posix()), message)


def compare_files(
    expected: Path, actual: Path, name: Path, *, clean: Clean, on_cancel: OnCancel = _never
) -> tuple[str, ...]:
    """What differs between two files of the same name, by their type: one sentence for each. name: below both folders.
    Raises CancelledError."""
    ways = Ways(clean, on_cancel, time.monotonic() + _MOST_SECONDS)
    return tuple(_compared(expected, actual, name, Rule("**"), ways))


def fits_nothing(rule: Rule, expected: Iterable[Path]) -> bool:
    """expected: folders with expected files."""
    return not any(path for folder in expected for path in _fitting(rule, ResultsFolder(folder)))


def without_effect(rule: Rule, expected: Iterable[Path]) -> str | None:
    """What of the rule says nothing for all expected files that it fits, without a full stop; `None`: all is of use.
    expected: folders."""
    hows = {_how(path, rule): path for folder in expected for path in _fitting(rule, ResultsFolder(folder))}
    told = f"{decoded_name(next(iter(hows.values())).name)} is compared as {next(iter(hows))}" if hows else ""
    for name in ("ignore", "tolerance", "pixel_distance"):
        if getattr(rule, name) and not any(name in USED.get(how, ()) for how in hows):
            return f"The {name} of the rule for {rule.files!r} has no effect: {told}"
    try:
        for how in hows if len(hows) == 1 else ():
            check_ignored(rule.ignore, how)
    except ValueError as error:
        return f"{told}: {error}".removesuffix(".")
    return None


def _how(path: Path, rule: Rule) -> How:
    """Of a file that can't be read: text."""
    if rule.how != "auto":
        return rule.how
    if how := how_by_name(path):
        return how
    try:
        with open_regular(path) as file:
            return _text_or_bytes(file)
    except OSError:
        return "text"


def _rules_of(folder: ResultsFolder, rules: Sequence[Rule]) -> dict[Path, Rule]:
    found: dict[Path, Rule] = {}
    for rule in rules:
        for path in _fitting(rule, folder):
            found.setdefault(path, rule)
    return found


def _fitting(rule: Rule, folder: ResultsFolder) -> Iterator[Path]:
    return folder.matching(f"{rule.files}/*" if rule.files.endswith("**") else rule.files)


def _compared(expected: Path, actual: Path, name: Path, rule: Rule, ways: Ways) -> Iterator[str]:
    with ExitStack() as files:
        try:
            one = files.enter_context(_opened(expected, name))
        except OSError as error:
            yield f"The expected file can't be read: {error.strerror}."
            return
        try:
            two = files.enter_context(_opened(actual, name))
        except OSError as error:
            is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            yield "The file is missing." if is_missing else f"The file can't be read: {error.strerror}."
            return
        at = _first_difference(one, two)
        how = (how_by_name(name) or _text_or_bytes(one)) if rule.how == "auto" else rule.how
        sizes = [os.fstat(file.fileno()).st_size for file in (one, two)]
    if at is None:
        return
    if how == "bytes":
        yield f"Byte {at + 1:,} differs: expected {counted(sizes[0], 'byte')}, found {sizes[1]:,}."
    elif max(sizes) > _MOST_BYTES:
        who = "The expected file" if sizes[0] > _MOST_BYTES else "The file"
        yield f"{who} has more than {_MOST_BYTES >> 20} MB, too many to be compared as {how}."
    else:
        yield from differences(expected / name, actual / name, how, rule, ways)


def _opened(folder: Path, name: Path) -> BinaryIO:
    """Raises OSError, also when it is a link or lies behind one."""
    inner = folder / name
    if os.path.realpath(inner.parent) != os.path.join(os.path.realpath(folder), *name.parent.parts):  # noqa: PTH118
        raise OSError(errno.ELOOP, "its folder is a link")
    return open_regular(inner)


def _first_difference(one: BinaryIO, two: BinaryIO) -> int | None:
    """The offset of the first byte that differs; `None` when the files are the same."""
    at = 0
    while (block := one.read(_BLOCK)) == (other := two.read(_BLOCK)):
        if not block:
            return None
        at += len(block)
    return at + next(
        (n for n, (a, b) in enumerate(zip(block, other, strict=False)) if a != b), min(len(block), len(other))
    )


def _text_or_bytes(file: BinaryIO) -> How:
    """By its beginning, at the end of which a character may be cut."""
    file.seek(0)
    begin = file.read(_BLOCK)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(begin, final=len(begin) < _BLOCK)
    except UnicodeDecodeError:
        return "bytes"
    return "bytes" if "\0" in text else "text"
