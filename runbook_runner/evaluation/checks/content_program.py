"""Run by `content.py` in a process of its own, with nothing but the standard library: stdin says what is looked for in
which files, stdout has what is wrong with those that are not as they should be, or why that can't be said."""

import gc
import json
import re
import sys
from pathlib import Path
from typing import Any

JSON_LINES = (".jsonl", ".ndjson")


class NoAnswerError(Exception):
    """The message says why."""


def main() -> None:
    gc.disable()  # JSON has no circles, and its search of millions of values takes longer than their reading
    said: dict[str, Any] = {}
    try:
        said["found"] = look(json.load(sys.stdin))
    except NoAnswerError as error:
        said["problem"] = str(error)
    sys.stdout.write(json.dumps(said))


def look(asked: dict[str, Any]) -> dict[str, str]:
    """Returns what is wrong with each file that is not as it should be. Raises NoAnswerError."""
    try:
        pattern = re.compile(asked["pattern"], re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise NoAnswerError(f"the pattern is not a regular expression: {error}") from None
    found = {}
    for name, path in asked["files"].items():
        try:
            text = Path(path).read_bytes().decode("utf-8")
            if asked["kind"] == "json":
                problem = json_problem(name, text)
            else:
                problem = "no match" if pattern.search(text) is None else None
        except UnicodeDecodeError:  # in another encoding, what is looked for may be there and not be found
            raise NoAnswerError(f"{name} is not UTF-8") from None
        except MemoryError:
            raise NoAnswerError(f"{name} needs too much memory") from None
        if problem:
            found[name] = problem
    return found


def json_problem(name: str, text: str) -> str | None:
    lines = enumerate(text.split("\n"), 1) if name.lower().endswith(JSON_LINES) else [(0, text)]
    for number, document in lines:
        try:
            if document.strip() or not number:
                json.loads(document, parse_constant=no_constant)
        except json.JSONDecodeError as error:
            return f"line {number or error.lineno}: {error.msg}"
        except RecursionError:
            return "it is nested too deeply"
        except ValueError as error:
            return str(error)
    return None


def no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


if __name__ == "__main__":
    main()
