"""Runner, watch: sandboxes that are kept ready between runs, where starting one takes long."""

from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from runbook_runner.core import ids
from runbook_runner.runner.environment.backends import longest_end
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.sandbox.backends import OpenBackend


class Warm:
    """Context manager: no sandbox that was kept ready stays after it. A claim lets the next start remove them when this
    process dies."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._kept: dict[tuple[str, str | None], OpenBackend] = {}

    def warmed(self, prepared: PreparedRun) -> PreparedRun:
        """The same run, in a sandbox that is ready already, if there is one. Raises NotReadyError, RecordingError."""
        chosen = prepared.backend
        if not chosen.backend.has_engine:
            return prepared
        place = chosen.name, chosen.engine_url
        if place not in self._kept:
            entry = Entry(chosen.name, engine=chosen.engine_url, until=longest_end(prepared.spec))
            claim = self._open.enter_context(Claim(prepared.settings.data, ids.new_trajectory_id(), entry))
            claim.settle()
            self._kept[place] = self._open.enter_context(chosen.opened.warmed(claim.labels()))
        return replace(prepared, chosen=replace(chosen, opened=self._kept[place]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
