"""Evaluation, compare: two files are read and compared in a process of its own: an agent has made one of them, and
it may be hostile."""

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import runbook_runner
from runbook_runner.core.apart.process import OnCancel, started
from runbook_runner.evaluation.compare.quotes import Clean, written
from runbook_runner.evaluation.compare.rule import How, Rule

_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 0.5
"""With less, a process would hardly start."""
_PROGRAM: Final = """
import sys
sys.path += sys.argv[1:]
from runbook_runner.evaluation.compare.within import main
main()
"""
_LIBRARIES: Final[dict[How, tuple[str, ...]]] = {
    "text": ("re2",),
    "image": ("PIL",),
    "pdf": ("pypdfium2", "re2"),
}


class Ways(NamedTuple):
    """How all comparisons of a run are made."""

    clean: Clean
    """What is quoted goes through it."""
    on_cancel: OnCancel
    deadline: float
    """When they are to have ended, in monotonic time."""


def differences(expected: Path, found: Path, how: How, rule: Rule, ways: Ways) -> Iterator[str]:
    """One sentence for each. Raises CancelledError."""
    folders = [Path(runbook_runner.__file__).parents[1]]
    for name in _LIBRARIES.get(how, ()):
        spec = find_spec(name)
        if spec is None or not spec.origin:
            yield f"To compare it as {how}, run `pip install '.[eval]'` in the clone of Runbook Runner."
            return
        folders.append(Path(spec.origin).parents[1])
    asked = {"expected": str(expected), "found": str(found), "how": how, "rule": asdict(rule)}
    seconds = min(_SECONDS, ways.deadline - time.monotonic())
    if seconds < _LEAST_SECONDS:
        yield f"It was not compared as {how}: all comparisons together take longer than is allowed."
        return
    with started(_PROGRAM, *map(str, folders), seconds=seconds) as process, ways.on_cancel(process.kill):
        answer, _ = process.communicate(json.dumps(asked).encode())
    *told, _ = answer.split(b"\n")
    yield from (written(json.loads(line), ways.clean) for line in told)
    if process.returncode == -signal.SIGKILL:
        yield f"The comparison as {how} was ended: it takes longer than {seconds:.0f} s."
    elif process.returncode < 0:
        yield f"The comparison as {how} was ended: it needs more memory than is allowed, or broke the library."
    elif process.returncode:
        yield f"The comparison as {how} failed: its program ended with exit code {process.returncode}."
