"""Evaluation, checks: searches files for a regular expression in Python's syntax (contract §3.11), in a process of its
own: some expressions take for ever, and nothing but the end of its process ends a search."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PROGRAM: Final = """\
import json, re, resource, sys
asked = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)) if sys.platform == "linux" else None
try:
    pattern = re.compile(asked["pattern"], re.MULTILINE)
except (re.error, OverflowError, RecursionError) as error:
    sys.exit(f"the pattern is not a regular expression: {error}")
for name, path in asked["files"].items():
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        if pattern.search(file.read()) is None:
            print(json.dumps(name))
"""


class UnusableExpressionError(Exception):
    """The search has no answer; the message says why."""


def without_match(pattern: str, files: Mapping[str, Path], timeout_s: float) -> list[str]:
    """Returns the names of the files in which the pattern is not found. Raises UnusableExpressionError."""
    asked = {"pattern": pattern, "files": {name: str(path) for name, path in files.items()}}
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
        raise UnusableExpressionError(f"the search took longer than {timeout_s:g} s.") from None
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        raise UnusableExpressionError(f"{said[:500]}.")
    return [json.loads(line) for line in ran.stdout.splitlines()]
