"""Runner: keeps while a run happens what is told at its end. A reader of the event stream."""

from collections import Counter
from collections.abc import Iterator

from runbook_runner.core.events import (
    CheckFinished,
    Evaluated,
    ModelCalled,
    NetworkConnection,
    Recorded,
    ReplayDiverged,
    RunStarted,
)
from runbook_runner.core.text import counted

_MOST_HOSTS = 5
_MOST_KEPT = 1000  # the sandbox chooses the names


class Tally:
    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._diverged: Counter[str] = Counter()
        self._is_provisional = False
        self._replayed = 0
        self.checks: list[CheckFinished] = []
        self.evaluated: Evaluated | None = None

    def __call__(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, CheckFinished):
            self.checks.append(event)
        elif isinstance(event, Evaluated):
            self.evaluated = event
        elif isinstance(event, RunStarted):
            self._is_provisional = bool(event.replay and event.replay.provisional)
        elif isinstance(event, ModelCalled):
            self._replayed += event.source == "replay" and event.asker == "agent"
        elif isinstance(event, ReplayDiverged):
            self._diverged[event.severity] += 1
        elif isinstance(event, NetworkConnection) and not event.allowed:
            host = f"{event.host}:{event.port}"
            if host in self._refused or len(self._refused) < _MOST_KEPT:
                self._refused[host] += 1

    def doubts(self, *, is_compared: bool) -> Iterator[str]:
        """is_compared: whether what differs from the recording that answers it is told elsewhere, or is no doubt."""
        if self._refused:
            yield f"The allow-list refused {_listed(self._refused)}: `--allow-host HOST` allows one."
        found = ", ".join(f"{self._diverged[kind]} {kind}" for kind in ("major", "miss") if self._diverged[kind])
        if found and not is_compared:
            yield (
                f"Requests that are not as recorded: {found}, so the recorded answers may not fit. "
                "`runbook replay` is the command that fails on them."
            )
        if self._is_provisional and self._replayed:
            yield (
                "The verdict is provisional: some answers of the model are from before the runbook was edited. f in "
                "`runbook watch`, `runbook run` or `runbook rerun` asks for all anew."
            )


def _listed(hosts: Counter[str]) -> str:
    """The hosts that were asked for most often."""
    named = [f"{host} ({counted(times, 'time')})" for host, times in hosts.most_common(_MOST_HOSTS)]
    more = len(hosts) - len(named)
    return ", ".join([*named, *([f"{counted(more, 'more host')}"] if more else [])])
