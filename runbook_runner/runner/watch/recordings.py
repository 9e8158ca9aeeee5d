"""Runner, watch: which recording the first model calls of the next run are answered from, and what that saves."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference, ModelCalled, Recorded, ReplayDiverged, UsageSum
from runbook_runner.core.files import is_file, read_found
from runbook_runner.gateway.cassette.cassette import INDEX_FILE
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.trajectory.folders import JUDGE

if TYPE_CHECKING:
    from runbook_runner.gateway.replay.index import CassetteIndex

_MOST_KEPT: Final = 8
_MOST_SCRIPT: Final = 10_000_000


class _Kept(NamedTuple):
    run: RecordedRun
    opened: "CassetteIndex | None"
    """`None`: only the judge's answers are in it."""
    scripts: str | None
    """The digest of those that answered it; `None`: that is not known of the user's recording."""

    @property
    def answers(self) -> int:
        return sum(entry.is_turn for entry in self.opened.entries) if self.opened else 0


class Recordings:
    """Those of the last runs, and the user's. The last one is used, but after an edit was taken back the last one of
    the same text."""

    def __init__(self, home: Path, near: tuple[Path, ...], *scripts: Path | None):
        """near: where agents are looked for. scripts: those that answer the runs' agent and judge, if any."""
        self._home, self._near, self._scripts = home, near, tuple(filter(None, scripts))
        self._kept: list[_Kept] = []
        """The last one first."""

    def take(self, name: str) -> None:
        """name: of a run that the user names. Raises InputError."""
        from runbook_runner.runner.replay.incremental import open_recorded  # imports the gateway

        run = read_recorded_run(self._home, name, self._near)
        run.require_model_calls()
        self._kept = [_Kept(run, open_recorded(run), None)]

    def add(self, folder: Path, scripts: str, *, cancelled: bool) -> None:
        """The trajectory folder of a run that is over. scripts: `scripts_now` before it was prepared. A run that was
        cancelled counts only when it has got further than the one before."""
        with suppress(InputError):
            run = read_recorded_run(self._home, str(folder), self._near)
            if not run.answers and not is_file(run.folder / JUDGE / INDEX_FILE):
                return
            from runbook_runner.runner.replay.incremental import open_recorded

            new = _Kept(run, open_recorded(run) if run.answers else None, scripts)
            if not cancelled or not self._kept or new.answers > self._kept[0].answers:
                self._kept = [new, *self._kept][:_MOST_KEPT]

    def answered_from(self, prepared: PreparedRun, *, strict: bool) -> PreparedRun:
        """The run with a recording before its model; the run itself when there is none, or when a script that answers
        was edited: what it says now is in no recording. Raises InputError when it can't be read any more; it is not
        used again then."""
        now = self.scripts_now()
        kept = [one for one in self._kept if one.scripts in (None, now)]
        if not kept or (prepared.upstream is None and prepared.judge is None):
            return prepared
        from runbook_runner.runner.replay.cassette import prompt_of  # imports the gateway, and so does:
        from runbook_runner.runner.replay.incremental import incremental

        told = prompt_of(prepared.spec)
        used = next((one for one in kept if prompt_of(one.run.spec) == told), kept[0])
        try:
            return incremental(prepared, used.run, used.opened, strict=strict)
        except InputError:
            self._kept.remove(used)
            raise

    def scripts_now(self) -> str:
        """The digest of the scripts."""
        digest = hashlib.sha256()
        for script in self._scripts:
            with suppress(InputError):
                digest.update(hashlib.sha256(read_found(script, most=_MOST_SCRIPT)).digest())
        return digest.hexdigest()


class Saved:
    """What a recording has answered in a run, and what was asked anew. A reader of its events."""

    def __init__(self) -> None:
        self._replayed, self._asked = UsageSum(), UsageSum()
        self.calls = 0
        """Model calls, of the agent and of the judge."""
        self.replayed_calls = 0
        self.first_asked: int | None = None
        """Number of the agent's first model call that the recording did not answer."""
        self.changed: Difference | None = None
        """The gravest difference of that call from the recorded one."""
        self._edit: Difference | None = None

    def __call__(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, ModelCalled):
            self.calls += 1
            if event.source == "replay":
                self.replayed_calls += 1
                self._replayed.add(event.usage)
            else:
                self._asked.add(event.usage)
                if event.asker == "agent" and self.first_asked is None:
                    self.first_asked = event.number
        elif isinstance(event, ReplayDiverged):
            first = next(iter(event.differences), None)
            if event.served == "recorded":
                self._edit = self._edit or first
            elif event.asker == "agent":
                self.changed = self.changed or first or self._edit

    @property
    def tokens(self) -> int:
        """Without what a provider had in its cache, as a run's summary counts."""
        return self._replayed.total.total_tokens

    @property
    def cost_usd(self) -> float | None:
        """`None`: it is not known."""
        return self._replayed.total.cost_usd

    @property
    def asked_tokens(self) -> int:
        return self._asked.total.total_tokens

    @property
    def asked_cost_usd(self) -> float | None:
        return self._asked.total.cost_usd
