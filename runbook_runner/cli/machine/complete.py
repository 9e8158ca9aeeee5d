"""Command line: `runbook complete KIND WORD [WORDS...]`, which the scripts of `runbook completion` ask for values.

It is not in the help. Prints a value and what it is in each line, with a tab between, best first, and never an error:
an answer that can't be given is none. The names are those of strangers, too, so none has a character that can't be
printed, and the scripts quote each for their shell. Nothing of a project is run; of a runbook the text is read.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings

_MOST: Final = 200
_LONGEST: Final = 200
_HARMLESS: Final = re.compile(r"[\w.,/@=:+-]+")
"""A name that is the same within quotes in every shell."""
_QUOTED: Final = re.compile(r"""(?:[^\\'"]|\\.)*['"]""", re.DOTALL)
"""The beginning of a word that has quotes, which a name can end."""
_LATEST: Final = "created DESC, folder DESC"
Found = TypeVar("Found")


class Value(NamedTuple):
    text: str
    about: str = ""


def complete(arguments: Sequence[str]) -> int:
    """Prints what can stand in the place of a word; the exit code is 0."""
    with suppress(Exception):
        kind, word, *line = arguments
        sys.stdout.writelines(f"{value.text}\t{value.about}\n" for value in values(kind, word, line))
    return ExitCode.PASS


def values(kind: str, word: str, line: Sequence[str] = ()) -> list[Value]:
    """kind: of KINDS. word: as it was typed so far, with its quotes. line: all words that were typed."""
    quoted, begun = _QUOTED.match(word), _unquoted(word)
    found = (value for value in KINDS[kind](begun, line) if value.text.startswith(begun) and _fits(value.text))
    shown = (value for value in found if not quoted or _HARMLESS.fullmatch(value.text))
    unique = {value.text: Value(value.text, _printable(value.about)) for value in shown}
    return list(islice(unique.values(), _MOST))


def _unquoted(word: str) -> str:
    return word[1:] if word[:1] in ("'", '"') else re.sub(r"\\(.)", r"\1", word)


def _fits(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable() and text[0] not in "-~"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])


# --- what is recorded ----------------------------------------------------------------------------------------------


def _runs(word: str, _: Sequence[str]) -> Iterator[Value]:
    from runbook_runner.trajectory.index.index import Index
    from runbook_runner.trajectory.index.rows import Row

    def of(index: Index) -> list[Row]:
        return index.rows("id >= ? AND id < ?", (word, f"{word}\U0010ffff"), _LATEST, _MOST)

    if word.startswith("@"):
        yield from (Value("@last", "the latest run"), Value("@last-failed", "the latest that failed"))
    for row in _of_index(of):
        how = (row.outcome or row.status or "").upper()
        yield Value(row.id, " ".join(filter(None, [row.task, how, (row.created or "")[:16].replace("T", " ")])))


def _results(_: str, line: Sequence[str]) -> Iterator[Value]:
    """Of the first word of the line that names a run."""
    from runbook_runner.trajectory.files import result_files
    from runbook_runner.trajectory.index.names import find_folder

    home = Settings.load().require_home(each_run=False)
    for word in line:
        with suppress(InputError):
            yield from (Value(file.path) for file in result_files(find_folder(home, _unquoted(word))))
            return


def _column(name: str) -> list[Value]:
    """name: of a column of the index."""
    found = _of_index(lambda index: index.columns(f"DISTINCT {name}", f"{name} IS NOT NULL"))
    return [Value(str(value)) for (value,) in sorted(found)]


def _of_index(use: Callable[..., Found]) -> Found:
    from runbook_runner.trajectory.index.index import with_index

    return with_index(Settings.load().require_home(each_run=False), use)


def _tasks(_: str, __: Sequence[str]) -> Iterable[Value]:
    return _column("task")


def _label_keys(_: str, __: Sequence[str]) -> Iterable[Value]:
    return [Value(key) for key in _of_index(lambda index: index.known_labels())]


def _labels(word: str, line: Sequence[str]) -> Iterable[Value]:
    """A key with `=`, and then its values."""
    key, sign, _ = word.partition("=")
    if not sign:
        return [Value(f"{value.text}=") for value in _label_keys(word, line)]
    return [Value(f"{key}={value}") for value in _of_index(lambda index: index.known_labels(key))]


# --- what can be chosen --------------------------------------------------------------------------------------------


def _agents(_: str, __: Sequence[str]) -> Iterable[Value]:
    from runbook_runner.agents.registry import known_agents

    return [Value(name) for name in known_agents(_near())]


def _snapshots(_: str, __: Sequence[str]) -> Iterable[Value]:
    from runbook_runner.sandbox.images.snapshots import known_snapshots

    return [Value(name) for name in known_snapshots(_near())]


def _models(_: str, __: Sequence[str]) -> Iterator[Value]:
    from runbook_runner.agents.built_in import BUILT_IN_AGENTS

    yield from _column("model")
    for facts in BUILT_IN_AGENTS.values():
        if facts.default_model:
            yield Value(facts.default_model, f"of {facts.name}, unless another is named")


def _near() -> tuple[Path, ...]:
    return (Path.cwd(),)


def _parameters(_: str, line: Sequence[str]) -> Iterator[Value]:
    """Those of the first runbook in the line."""
    from runbook_runner.core.disk.links import open_regular
    from runbook_runner.core.files import read_stream
    from runbook_runner.runbook.document import parse

    for word in line[1:]:
        path = Path(os.path.expanduser(_unquoted(word)))  # noqa: PTH111 - it never raises
        with suppress(OSError, ValueError):
            if path.is_dir() or path.suffix == ".md":
                file = path / "RUNBOOK.md" if path.is_dir() else path
                with open_regular(file.resolve()) as stream:
                    text = read_stream(stream, str(file)).decode()
                for parameter in parse(text, str(file)).parameters:
                    yield Value(f"{parameter.name}=", parameter.description or "")
                return


KINDS: Final[Mapping[str, Callable[[str, Sequence[str]], Iterable[Value]]]] = {
    "agents": _agents,
    "labels": _labels,
    "label-keys": _label_keys,
    "models": _models,
    "parameters": _parameters,
    "results": _results,
    "runs": _runs,
    "snapshots": _snapshots,
    "tasks": _tasks,
}
