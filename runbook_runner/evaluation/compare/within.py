"""Evaluation, compare: what runs in the process that `process.py` starts. stdin says what is compared with what; each
line of stdout is a difference, as `quotes.py` writes it."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from runbook_runner.evaluation.compare.quotes import cut
from runbook_runner.evaluation.compare.rule import Rule, check_ignored

MOST_TOLD: Final = 10
_LONGEST_REASON: Final = 200
_MODULES: Final = {
    "text": "texts", "json": "documents", "csv": "tables", "xlsx": "sheets", "image": "images", "pdf": "pages",
}  # fmt: skip
"""Each has `read(path)` and `compare(expected, found, rule)`. Only one of them is imported, with its library."""


def main() -> None:
    for number, difference in enumerate(_differences(json.load(sys.stdin))):
        told = difference if number < MOST_TOLD else "There are more differences."
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        if number == MOST_TOLD:
            return


def _differences(asked: dict[str, Any]) -> Iterator[str]:
    how, rule = asked["how"], Rule(**asked["rule"])
    what = ""
    try:
        check_ignored(rule.ignore, how)
        module = import_module(f"{__package__}.{_MODULES[how]}")
        what = "The expected file can't be read"
        expected = module.read(Path(asked["expected"]))
        what = "The file can't be read"
        found = module.read(Path(asked["found"]))
        what = "The files can't be compared"
        yield from module.compare(expected, found, rule)
    except MemoryError:
        yield f"The comparison as {how} was ended: it needs more memory than is allowed."
    except Exception as error:  # libraries raise anything for what is broken on purpose
        reason = str(error) or type(error).__name__
        yield f"{what} as {how}: {cut(reason.rstrip('.'), _LONGEST_REASON)}." if what else cut(reason, _LONGEST_REASON)
