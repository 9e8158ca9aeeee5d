"""Evaluation, checks: looks at the content of files in a process of its own, within bounds of time and memory: a search
for some regular expressions takes for ever, and a small JSON document may need gigabytes."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

_PROGRAM: Final = (Path(__file__).with_name("content_program.py")).read_text("utf-8")


class NoAnswerError(Exception):
    """The content can't be looked at; the message says why."""


def without_match(pattern: str, files: Mapping[str, Path], timeout_s: float) -> list[str]:
    """Returns the names of the files in which a regular expression in Python's syntax (contract §3.11) is not found.
    Raises NoAnswerError."""
    return list(_look("regex", files, timeout_s, pattern))


def json_problems(files: Mapping[str, Path], timeout_s: float) -> dict[str, str]:
    """Returns what is wrong with each file that is not JSON, or, by its name, not JSON lines. Raises NoAnswerError."""
    return _look("json", files, timeout_s)


def _look(
    kind: Literal["regex", "json"], files: Mapping[str, Path], timeout_s: float, pattern: str = ""
) -> dict[str, str]:
    asked = {
        "kind": kind,
        "pattern": pattern,
        "files": {name: str(path) for name, path in files.items()},
        "parent": os.getpid(),
        "cpu_s": math.ceil(timeout_s) + 1,  # only the last resort: it would not say what ended it
    }
    try:
        ran = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
            env={},
        )
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"it took longer than {timeout_s:g} s.") from None
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        raise NoAnswerError(f"{said[:500]}.")
    found: dict[str, str] = json.loads(ran.stdout)
    return found
