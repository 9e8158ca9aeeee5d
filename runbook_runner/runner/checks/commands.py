"""Runner, checks: runs the commands of a run's checks in its sandbox, once its agent has ended and its results are at
home."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Self

from runbook_runner.core import settings
from runbook_runner.core.errors import CancelledError, RecordingError, RunbookError
from runbook_runner.core.settings import MAX_CHECK_TIMEOUT_S
from runbook_runner.evaluation.checks.run import Ran
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.live_run import Run
from runbook_runner.runner.request.secrets import check_secrets
from runbook_runner.sandbox.base import Process, PutFile, Sandbox

if TYPE_CHECKING:
    from runbook_runner.runner.checks.clones import Clones, SourceFiles

_TOGETHER_S = MAX_CHECK_TIMEOUT_S  # all of them; the sandbox's lifetime has this much more
_STOPS = ("-e", "-o", "pipefail")  # contract §3.11
_KEPT = 1 << 20
"""Characters of an output, the last ones: what the agent has made may be printed, and take the place of the rest."""


class SandboxCommands:
    """Call it with a script. The environment is the agent's, without what belongs to its CLI. Before each script, what
    the agent or an earlier script has left running is ended, and what was made of the check sources is replaced: a
    script may run the agent's own programs."""

    def __init__(self, run: Run, sandbox: Sandbox, clones: "Clones | None"):
        """clones: of the check sources; `None`: there are none."""
        self.used = False
        """At least one script has begun."""
        self._run = run
        self._sandbox = sandbox
        self._clones = clones
        self._open = ExitStack()
        self._sources: SourceFiles | RunbookError | None = None
        """`None` before the first script; the error for all scripts, as each may read them."""
        self._left_s = float(_TOGETHER_S)
        values = agent_environ(run.spec, run.trajectory_id)
        self._environ = {name: sandbox.localise(value) for name, value in values.items()}
        self._secrets: Mapping[str, str] = check_secrets(run.spec, run.prepared.secrets.values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

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
        self.used = True
        self._sandbox.end_processes()
        if self._clones:
            self._put_sources(self._clones)
        # An earlier script can't know the name, and the file is there only now.
        path = f"{settings.PRIVATE}/checks-{token_hex(8)}/check.sh"
        script = PutFile(path, self._sandbox.localise(code).encode())
        process = self._sandbox.exec(
            ["bash", *(_STOPS if stops else ()), self._sandbox.localise(path)],
            env={**self._environ, **self._secrets},
            cwd=settings.APP,
            files=[script],
            deadline_s=timeout_s,
        )
        return self._ended(process, timeout_s)

    def _put_sources(self, clones: "Clones") -> None:
        if self._sources is None:
            try:
                self._sources = self._open.enter_context(clones.fetched(self._left_s))
            except (CancelledError, RecordingError):
                raise
            except RunbookError as error:
                self._sources = error
        if isinstance(self._sources, RunbookError):
            raise self._sources
        self._sources.put(self._sandbox, self._left_s)

    def _ended(self, process: Process, timeout_s: float) -> Ran:
        with self._run.cancellation.ends_with(process.kill):
            output = self._output(process)
            end = process.wait()
        if end.ended_by == "deadline":
            return output._replace(problem=f"it took longer than {timeout_s:g} s.")
        if end.ended_by == "killed" or end.code is None:
            hits = [hit.message for hit in self._sandbox.limits_hit()]
            return output._replace(problem=" ".join(hits) or "it was ended.")
        return output._replace(code=end.code)

    def _output(self, process: Process) -> Ran:
        """The end of what it prints, on both streams. More of it is cleaned, for a secret that begins before it."""
        kept, most, is_cut = bytearray(), _KEPT + self._run.redactor.reach, False
        for chunk in process:
            kept += chunk.data
            is_cut = is_cut or len(kept) > _KEPT
            del kept[: max(0, len(kept) - most)]
        raw = kept.decode("utf-8", "replace")
        return Ran(None, self._run.redactor.clean(raw)[-_KEPT:], raw=raw, is_cut=is_cut)
