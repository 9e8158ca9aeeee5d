"""Runner, checks: what is left to do when the checks of a run are over: its merged report, and what they have
changed."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from runbook_runner.core import settings
from runbook_runner.core.disk.private import FILE
from runbook_runner.core.errors import NotReadyError, RecordingError, SandboxError
from runbook_runner.core.files import make_folder, write_atomically
from runbook_runner.core.text import printable_name
from runbook_runner.evaluation.report import REPORT
from runbook_runner.runner.live_run import Run
from runbook_runner.runner.results.earlier import changed_since
from runbook_runner.sandbox.base import Sandbox, Stamp
from runbook_runner.trajectory.artifacts import ArtifactLog
from runbook_runner.trajectory.folders import AGENT, RESULTS

_MOST_NAMED = 10
_MOST_INDENTED = 1 << 20
"""Characters of a report; indented, one of many levels is a hundred times as large."""


def tell_changes(run: Run, sandbox: Sandbox, stamps: Mapping[str, Stamp]) -> None:
    """Warns when the results in the sandbox are not what they were when they were collected. stamps: as they were."""
    try:
        changed = changed_since(sandbox, run.claim.work, run.spec.limits, stamps)
    except (NotReadyError, SandboxError):
        return  # nobody can look any more, and the collected results are at home
    if changed:
        names = ", ".join(printable_name(path) for path in sorted(changed)[:_MOST_NAMED])
        more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        message = f"Changed after the results were collected, so not in them (by a check?): {names}{more}."
        run.emit.doubt(message)


def replace_report(run: Run, log: ArtifactLog, report: dict[str, Any]) -> None:
    """Puts the merged report into the results; the agent's own is kept beside its logs."""
    place, own = run.folder / RESULTS / REPORT, run.folder / AGENT / REPORT
    report = run.redactor.json(report)
    text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    if len(text) > _MOST_INDENTED:
        text = json.dumps(report, ensure_ascii=False) + "\n"
    try:
        if place.is_file():
            place.replace(own)
            log.add("agent", f"{AGENT}/{REPORT}", f"/logs/{AGENT}/{REPORT}", Counter())
        elif place.is_dir():
            return  # the agent's folder of that name stays
        make_folder(place.parent)
        write_atomically(place, text, mode=FILE)
    except OSError as error:
        raise RecordingError(f"The report can't be written: {error.strerror}.", where=str(place)) from error
    log.add("result", f"{RESULTS}/{REPORT}", f"{settings.RESULTS}/{REPORT}", Counter())
