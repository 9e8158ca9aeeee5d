"""Command line: checks many files: in one process when they are few, on all cores when they are many.

Workers are forked after the imports, so they cost a few milliseconds, and send back plain tuples.
"""

import marshal
import os
from collections.abc import Sequence
from typing import Any

from runbook_runner.cli.checking import Target, read
from runbook_runner.errors import InputError
from runbook_runner.runbook.check.engine import Job, findings_of, job, refusal
from runbook_runner.runbook.check.findings import Edit, Finding

_SHARE = 24  # files that are worth a worker
_CHUNK = 200  # files whose texts are in memory at once
_MOST_WORKERS = 8


def findings_in(targets: Sequence[Target]) -> list[Finding]:
    """In the order of the files."""
    workers = min(_cores(), len(targets) // _SHARE, _MOST_WORKERS) if hasattr(os, "fork") else 1
    if workers < 2 or any(target.folder is None for target in targets):
        return _here(targets)
    size = -(-len(targets) // workers)
    shares = [targets[start : start + size] for start in range(0, len(targets), size)]
    others = [_fork(share) for share in shares[1:]]
    found = _here(shares[0])
    for pid, pipe in others:
        found += _answer(pid, pipe)
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(targets: Sequence[Target]) -> list[Finding]:
    found: list[Finding] = []
    for start in range(0, len(targets), _CHUNK):
        found += _chunk(targets[start : start + _CHUNK])
    return found


def _chunk(targets: Sequence[Target]) -> list[Finding]:
    work = list(map(_begin, targets))
    checked = iter(findings_of([item for item in work if isinstance(item, Job)]))
    return [finding for item in work for finding in (next(checked) if isinstance(item, Job) else (item,))]


def _begin(target: Target) -> Job | Finding:
    try:
        return job(read(target), target.name, target.folder, target.selection)
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
        answer: Any = [_packed(finding) for finding in _here(targets)]
    except Exception:
        import traceback

        answer = traceback.format_exc()
    with os.fdopen(pipe, "wb") as stream:
        stream.write(marshal.dumps(answer))
    os._exit(0)


def _answer(pid: int, pipe: int) -> list[Finding]:
    """Raises RuntimeError with the worker's traceback: it failed, not the files."""
    with os.fdopen(pipe, "rb") as stream:
        raw = stream.read()
    os.waitpid(pid, 0)
    answer: Any = marshal.loads(raw) if raw else "a worker was killed"  # noqa: S302 - from our own child
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return [_unpacked(values) for values in answer]


def _packed(finding: Finding) -> tuple[object, ...]:
    edits = tuple((edit.start, edit.end, edit.text) for edit in finding.edits)
    names = ("file", "line", "column", "rule", "severity", "message", "hint")
    return (*(getattr(finding, name) for name in names), edits)


def _unpacked(values: Any) -> Finding:
    file, line, column, rule, severity, message, hint, edits = values
    return Finding(file, line, column, rule, severity, message, hint, tuple(Edit(*edit) for edit in edits))
