"""Evaluation, checks: the six built-in checks (contract §3.11), on the collected results."""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from runbook_runner.core.criteria import BuiltIn, Use
from runbook_runner.core.settings import RESULTS
from runbook_runner.core.text import counted, printable_name
from runbook_runner.evaluation.checks.content import Ends, NoAnswerError, json_problems, without_match
from runbook_runner.evaluation.outputs import ResultsFolder

MOST_BYTES: Final = 64 << 20
"""Of a file whose content is looked at."""
_MOST_TOLD: Final = 5
_LONGEST: Final = 500  # characters of what a message names
_MOST_MARKDOWN: Final = 8 << 20  # read, it takes fifty times as much memory


class Answer(NamedTuple):
    status: Literal["pass", "fail", "error"]
    message: str


def builtin_answer(builtin: BuiltIn, results: ResultsFolder, ends: Ends) -> Answer:
    """Raises CancelledError."""
    paths = [path for path in results.matching(builtin.files) if path.is_file()]
    if results.is_exhausted:
        return Answer("error", "there are too many results to look for it.")
    if not paths:
        none = f"{'nothing matches' if builtin.is_glob else 'there is no file'} {_brief(builtin.files)}."
        may_be_gone = builtin.use == "regex_absent" and builtin.is_glob
        return Answer("pass" if may_be_gone else "fail", none)
    files = {path.relative_to(results.root).as_posix(): path for path in paths}
    try:
        if builtin.use == "markdown_relative_links_resolve":
            return _links_resolve(results, files)
        return _USES[builtin.use](builtin, files, ends)
    except NoAnswerError as error:
        return Answer("error", str(error))


def _file_exists(_: BuiltIn, files: Mapping[str, Path], __: Ends) -> Answer:
    return Answer("pass", f"{counted(len(files), 'file')}.")


def _min_size(builtin: BuiltIn, files: Mapping[str, Path], _: Ends) -> Answer:
    small = (f"{name} has {path.stat().st_size:,}" for name, path in files.items() if _is_small(path, builtin))
    return _all_good(small, f"below {counted(builtin.bytes or 0, 'byte')}", files)


def _is_small(path: Path, builtin: BuiltIn) -> bool:
    return path.stat().st_size < (builtin.bytes or 0)


def _json_valid(_: BuiltIn, files: Mapping[str, Path], ends: Ends) -> Answer:
    _require_small(files)
    wrong = json_problems(files, ends)
    return _all_good((f"{name}: {problem}" for name, problem in wrong.items()), "not JSON", files)


def _regex_present(builtin: BuiltIn, files: Mapping[str, Path], ends: Ends) -> Answer:
    return _all_good(_without(builtin, files, ends), f"no match of {_brief(builtin.pattern)}", files)


def _regex_absent(builtin: BuiltIn, files: Mapping[str, Path], ends: Ends) -> Answer:
    without = set(_without(builtin, files, ends))
    return _all_good((name for name in files if name not in without), f"a match of {_brief(builtin.pattern)}", files)


def _without(builtin: BuiltIn, files: Mapping[str, Path], ends: Ends) -> list[str]:
    _require_small(files)
    return without_match(builtin.pattern or "", files, ends)


def _links_resolve(results: ResultsFolder, files: Mapping[str, Path]) -> Answer:
    _require_small(files, _MOST_MARKDOWN)
    dangling = (
        f"{name}: {link}"
        for name, path in files.items()
        for link in _links(path.read_bytes().decode("utf-8", "replace"))
        if not _resolves(link, name, results)
    )
    return _all_good(dangling, "a link that leads nowhere", files)


def _links(text: str) -> Iterator[str]:
    import pyromark  # only a runbook with such a check pays for it

    for event in pyromark.events(text):
        for tag in event.values() if isinstance(event, dict) else ():
            for kind, link in tag.items() if isinstance(tag, dict) else ():
                if kind in ("Link", "Image"):
                    yield link["dest_url"]


def _resolves(link: str, name: str, results: ResultsFolder) -> bool:
    """Links to other hosts, to a place in the same file and out of the results are not relative ones. Looks only at the
    names of the collected results: the answer must not tell what else is on this machine."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return True
    target = unquote(parts.path)
    if parts.scheme or parts.netloc or not target:
        return True
    if target.startswith("/"):
        inside = target.startswith(f"{RESULTS}/")
        return not inside or results.has(target.removeprefix(f"{RESULTS}/"))
    return results.has(posixpath.join(posixpath.dirname(name), target))


_USES: Final[Mapping[Use, Callable[[BuiltIn, Mapping[str, Path], Ends], Answer]]] = {
    "file_exists": _file_exists,
    "min_size": _min_size,
    "json_valid": _json_valid,
    "regex_present": _regex_present,
    "regex_absent": _regex_absent,
}


def _all_good(wrong: Iterable[str], problem: str, files: Mapping[str, Path]) -> Answer:
    """wrong: the files for which it is true, with what is to be said of each."""
    found = list(islice(wrong, _MOST_TOLD + 1))
    if not found:
        return Answer("pass", f"{counted(len(files), 'file')}.")
    told = "; ".join(_brief(printable_name(one)) for one in found[:_MOST_TOLD])
    return Answer("fail", f"{problem}: {told}{' and more' if len(found) > _MOST_TOLD else ''}.")


def _brief(text: str | None) -> str:
    """For a message."""
    text = text or ""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _require_small(files: Mapping[str, Path], most: int = MOST_BYTES) -> None:
    for name, path in files.items():
        if path.stat().st_size > most:
            raise NoAnswerError(f"{printable_name(name)} is larger than {most >> 20} MB, so its content is not read.")
