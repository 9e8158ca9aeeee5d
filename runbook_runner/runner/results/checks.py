"""Runner: runs the commands of a run's checks in its sandbox, once its agent has ended and its results are at home."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from itertools import count
from secrets import token_hex
from typing import Any

from runbook_runner.core import settings
from runbook_runner.core.disk.private import FILE
from runbook_runner.core.errors import CancelledError, NotReadyError, RecordingError, RunbookError, SandboxError
from runbook_runner.core.files import make_folder, write_atomically
from runbook_runner.core.settings import MAX_CHECK_TIMEOUT_S
from runbook_runner.core.text import printable_name
from runbook_runner.evaluation.checks.run import Ran
from runbook_runner.evaluation.report import REPORT
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.live_run import Run
from runbook_runner.runner.request.secrets import check_secrets
from runbook_runner.runner.results.earlier import changed_since
from runbook_runner.sandbox.base import Process, PutFile, Sandbox, Stamp
from runbook_runner.trajectory.artifacts import ArtifactLog
from runbook_runner.trajectory.store import AGENT, RESULTS

_TOGETHER_S = MAX_CHECK_TIMEOUT_S  # all of them; the sandbox's lifetime has this much more
_STOPS = ("-e", "-o", "pipefail")  # contract §3.11
_KEPT = 64 << 10
_MOST_NAMED = 10
_MOST_INDENTED = 1 << 20
"""Characters of a report; indented, one of many levels is a hundred times as large."""


class SandboxCommands:
    """Call it with a script. The environment is the agent's, without what belongs to its CLI."""

    def __init__(self, run: Run, sandbox: Sandbox):
        self.used = False
        """At least one script has begun."""
        self._run = run
        self._sandbox = sandbox
        self._paths = (f"{settings.PRIVATE}/checks-{token_hex(4)}/{number}.sh" for number in count(1))
        self._left_s = float(_TOGETHER_S)
        values = agent_environ(run.spec, run.trajectory_id)
        self._environ = {name: sandbox.localise(value) for name, value in values.items()}
        self._secrets: Mapping[str, str] = check_secrets(run.spec, run.prepared.secrets.values)

    def __call__(self, code: str, stops: bool, timeout_s: float) -> Ran:
        """Raises CancelledError and RecordingError."""
        self._run.cancellation.check()
        if self._left_s <= 0:
            return Ran(None, problem=f"the checks of a run may take {_TOGETHER_S} s together.")
        timeout_s, began = min(timeout_s, self._left_s), time.monotonic()
        try:
            return self._ran(code, stops, timeout_s)
        except (CancelledError, RecordingError):
            raise
        except RunbookError as error:  # the sandbox was lost, or the agent has made it unusable
            self._run.cancellation.check()
            return Ran(None, problem=f"it can't be run: {error.message}")
        finally:
            self._left_s -= time.monotonic() - began

    def _ran(self, code: str, stops: bool, timeout_s: float) -> Ran:
        if not self.used:
            self.used = True
            self._sandbox.end_processes()
        path = next(self._paths)
        script = PutFile(path, self._sandbox.localise(code).encode())
        process = self._sandbox.exec(
            ["bash", *(_STOPS if stops else ()), self._sandbox.localise(path)],
            env={**self._environ, **self._secrets},
            cwd=settings.APP,
            files=[script],
            deadline_s=timeout_s,
        )
        return self._ended(process, timeout_s)

    def _ended(self, process: Process, timeout_s: float) -> Ran:
        with self._run.cancellation.ends_with(process.kill):
            output = self._output(process)
            end = process.wait()
        if end.ended_by == "deadline":
            return Ran(None, output, f"it took longer than {timeout_s:g} s.")
        if end.ended_by == "killed" or end.code is None:
            hits = [hit.message for hit in self._sandbox.limits_hit()]
            return Ran(None, output, " ".join(hits) or "it was ended.")
        return Ran(end.code, output)

    def _output(self, process: Process) -> str:
        """The end of what it prints, on both streams. More of it is cleaned, for a secret that begins before it."""
        kept, most = bytearray(), _KEPT + self._run.redactor.reach
        for chunk in process:
            kept += chunk.data
            del kept[: max(0, len(kept) - most)]
        return self._run.redactor.clean(kept.decode("utf-8", "replace"))[-_KEPT:]


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
