"""Evaluation, checks: looks at the content of files in a process of its own, within bounds of time and memory: a search
for some regular expressions takes for ever, and a small JSON document may need gigabytes."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from runbook_runner.core.apart.process import OnCancel, started

_PROGRAM: Final = Path(__file__).with_name("content_program.py").read_text("utf-8")


class NoAnswerError(Exception):
    """The content can't be looked at; the message says why."""


class Ends(NamedTuple):
    """What ends a look at the content of files."""

    timeout_s: float
    on_cancel: OnCancel


def without_match(pattern: str, files: Mapping[str, Path], ends: Ends) -> list[str]:
    """Returns the names of the files in which a regular expression in Python's syntax (contract §3.11) is not found.
    Raises NoAnswerError, CancelledError."""
    return list(_look("regex", files, ends, pattern))


def json_problems(files: Mapping[str, Path], ends: Ends) -> dict[str, str]:
    """Returns what is wrong with each file that is not JSON, or, by its name, not JSON lines. Raises NoAnswerError,
    CancelledError."""
    return _look("json", files, ends)


def _look(kind: Literal["regex", "json"], files: Mapping[str, Path], ends: Ends, pattern: str = "") -> dict[str, str]:
    asked = {"kind": kind, "pattern": pattern, "files": {name: str(path) for name, path in files.items()}}
    with started(_PROGRAM, seconds=ends.timeout_s) as process, ends.on_cancel(process.kill):
        answer, _ = process.communicate(json.dumps(asked).encode())
    if process.returncode == -signal.SIGKILL:
        raise NoAnswerError(f"it took longer than {ends.timeout_s:g} s.")
    if process.returncode:
        raise NoAnswerError(f"the program that looks at it ended with exit code {process.returncode}.")
    said: dict[str, Any] = json.loads(answer)
    if "problem" in said:
        raise NoAnswerError(f"{said['problem'][:500]}.")
    found: dict[str, str] = said["found"]
    return found
