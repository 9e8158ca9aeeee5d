"""Command line: checks many files: in one process when they are few, on all cores when they are many.

Workers are forked after the imports, so they cost a few milliseconds, and send back plain tuples.
"""

import marshal
import os
from collections.abc import Sequence
from typing import Any

from runbook_runner.cli.author.check import HERE, Target, read
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.check.engine import Job, findings_of, job, refusal
from runbook_runner.runbook.check.rules.findings import Edit, Finding

_SHARE = 24  # files that are worth a worker
_CHUNK = 200  # files whose texts are in memory at once
_MOST_WORKERS = 8


def findings_in(targets: Sequence[Target]) -> list[Finding]:
    """In the order of the files."""
    workers = min(_cores(), len(targets) // _SHARE, _MOST_WORKERS) if hasattr(os, "fork") else 1
    if workers < 2 or any(target.folder is None for target in targets):
        return [finding for findings in _here(targets) for finding in findings]
    # Each takes every so-manieth file: neighbours are alike, and one worker must not get all the long ones.
    others = [_fork(targets[number::workers]) for number in range(1, workers)]
    found: list[list[Finding]] = [[]] * len(targets)
    found[::workers] = _here(targets[::workers])
    for number, (pid, pipe) in enumerate(others, 1):
        found[number::workers] = _answer(pid, pipe)
    return [finding for findings in found for finding in findings]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(targets: Sequence[Target]) -> list[list[Finding]]:
    """For each target."""
    found: list[list[Finding]] = []
    for start in range(0, len(targets), _CHUNK):
        found += _chunk(targets[start : start + _CHUNK])
    return found


def _chunk(targets: Sequence[Target]) -> list[list[Finding]]:
    work = list(map(_begin, targets))
    checked = iter(findings_of([item for item in work if isinstance(item, Job)]))
    return [list(next(checked)) if isinstance(item, Job) else [item] for item in work]


def _begin(target: Target) -> Job | Finding:
    try:
        return job(read(target), target.name, target.folder, target.selection, HERE)
    except InputError as error:
        return refusal(error, target.name)


# --- workers ---


def _fork(targets: Sequence[Target]) -> tuple[int, int]:
    """Process id and the pipe its answer comes through."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    try:
        os.close(read_end)
        _work(targets, write_end)
    finally:
        os._exit(1)  # never back into the parent's code


def _work(targets: Sequence[Target], pipe: int) -> None:
    try:
        answer: Any = [[_packed(finding) for finding in findings] for findings in _here(targets)]
    except Exception:
        import traceback

        answer = traceback.format_exc()
    with os.fdopen(pipe, "wb") as stream:
        stream.write(marshal.dumps(answer))
    os._exit(0)


def _answer(pid: int, pipe: int) -> list[list[Finding]]:
    """Raises RuntimeError with the worker's traceback: it failed, not the files."""
    with os.fdopen(pipe, "rb") as stream:
        raw = stream.read()
    os.waitpid(pid, 0)
    answer: Any = marshal.loads(raw) if raw else "a worker was killed"  # noqa: S302 - from our own child
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return [[_unpacked(values) for values in findings] for findings in answer]


def _packed(finding: Finding) -> tuple[object, ...]:
    """As marshal has it: plain tuples only."""
    return (*finding[:-1], tuple(map(tuple, finding.edits)))


def _unpacked(values: Any) -> Finding:
    *rest, edits = values
    return Finding._make((*rest, tuple(Edit(*edit) for edit in edits)))
