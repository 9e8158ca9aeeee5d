"""A run that is stopped, or whose reader breaks, at any of its events: the record has an end, and nothing is left."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from runbook_runner import runner
from runbook_runner.core.errors import CancelledError
from runbook_runner.core.events import Recorded
from runbook_runner.runner import Outcome, RunOptions, RunRequest
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.trajectory.store import read_events

Write = Callable[[str], Path]
MOMENTS = [
    "run.started",
    "phase.started image",
    "phase.finished image",
    "phase.started sandbox",
    "sandbox.started",
    "phase.started agent",
    "agent.started",
    "tool.called",
    "tool.returned",
    "agent.finished",
    "phase.finished agent",
    "phase.started collect",
    "artifact.collected",
    "phase.started evaluate",
    "run.evaluated",
    "phase.finished evaluate",
    "run.finished",
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    return tmp_path / "home"


@pytest.fixture
def sigterm() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Sets what the signal does."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda action: signal.signal(signal.SIGTERM, lambda *_: action())
    signal.signal(signal.SIGTERM, before)


def at(moment: str, act: Callable[[], object]) -> Callable[[Recorded], None]:
    """A reader that acts once."""
    acted = []

    def reader(recorded: Recorded) -> None:
        event = recorded.event.model_dump()
        if not acted and moment in (event["type"], f"{event['type']} {event.get('phase')}", "any"):
            acted.append(event)
            act()

    return reader


def run(path: Path, *readers: Callable[[Recorded], None], cancellation: Cancellation | None = None) -> Outcome:
    request = RunRequest(str(path), options=RunOptions(sandbox="host"))
    return runner.run(runner.prepare(request), readers, cancellation)


def record(home: Path) -> tuple[Path, list[str]]:
    """The folder and the kinds of events of the only run."""
    (folder,) = home.glob("trajectories/*/*/*")
    kinds = [recorded.event.model_dump()["type"] for recorded in read_events(folder)]
    return folder, kinds


def nothing_left(home: Path, tmp_path: Path) -> bool:
    data = tmp_path / "data"
    return not [*data.glob("runs/*"), *data.glob("work/*"), *(tmp_path / "temp").glob("runbook-*")]


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_any_moment_ends_the_run_in_good_order(
    home: Path, tmp_path: Path, shell_runbook: Write, sigterm: Callable[[Callable[[], object]], None], moment: str
) -> None:
    cancellation = Cancellation()
    sigterm(cancellation.request)
    path = shell_runbook("echo made > /app/results/out.txt")
    outcome = run(path, at(moment, kill_oneself), cancellation=cancellation)
    folder, kinds = record(home)
    assert kinds[-1] == "run.finished"
    assert outcome.trajectory.status == ("completed" if moment == "run.finished" else "cancelled")
    assert (folder / "trajectory.json").exists()
    if MOMENTS.index(moment) >= MOMENTS.index("tool.returned"):
        assert (folder / "results" / "out.txt").read_text() == "made\n"
    assert nothing_left(home, tmp_path)


CHECKS = "## Code Checks\n\n" + "\n".join(
    f"### {name} — It is there\n\n```yaml\nuse: file_exists\npath: out.txt\n```\n" for name in ("one", "two")
)


def test_a_request_between_two_checks_ends_the_run(home: Path, shell_runbook: Write) -> None:
    path = shell_runbook("echo made > /app/results/out.txt")
    document = path / "RUNBOOK.md"
    document.write_text(document.read_text() + "\n" + CHECKS)
    cancellation = Cancellation()
    outcome = run(path, at("check.finished", cancellation.request), cancellation=cancellation)
    _, kinds = record(home)
    assert outcome.trajectory.status == "cancelled"
    assert kinds.count("check.finished") == 1


def test_a_signal_in_the_moment_in_which_a_block_becomes_interruptible_or_no_longer_is(
    home: Path, tmp_path: Path, shell_runbook: Write
) -> None:
    """At each line of the context manager and of what enters and leaves it."""
    path = shell_runbook("echo made > /app/results/out.txt")
    lines = interrupted = 0
    while True:
        cancellation, left = Cancellation(), lines

        def trace(frame: FrameType, event: str, _: object, cancellation: Cancellation = cancellation) -> Any:
            nonlocal left
            generator = getattr(frame.f_locals.get("self"), "gen", None)
            if frame.f_code.co_name != "interruptible" and getattr(generator, "__name__", "") != "interruptible":
                return None
            left -= 1
            if left < 0 and not cancellation.requested:
                cancellation.request()
            return trace

        sys.settrace(trace)
        try:
            outcome = run(path, cancellation=cancellation)
        finally:
            sys.settrace(None)
        folders = list(home.glob("trajectories/*/*/*"))
        assert len(folders) == lines + 1
        assert all((folder / "trajectory.json").exists() for folder in folders)
        assert nothing_left(home, tmp_path)
        if not cancellation.requested:
            break
        interrupted += outcome.trajectory.status == "cancelled"
        lines += 1
    assert outcome.trajectory.status == "completed"
    assert interrupted == lines > 20


def test_a_request_before_the_record_is_open_leaves_nothing(home: Path, tmp_path: Path, shell_runbook: Write) -> None:
    cancellation = Cancellation()
    cancellation.request()
    with pytest.raises(CancelledError):
        run(shell_runbook("true"), cancellation=cancellation)
    assert not home.exists()


def test_a_request_while_dead_runs_are_recovered_leaves_them_to_the_next_start(
    home: Path, tmp_path: Path, shell_runbook: Write
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    path = shell_runbook("echo made > /app/results/out.txt")
    with pytest.raises(KeyboardInterrupt):
        run(path, at("run.started", interrupt))
    folder, _ = record(home)
    cancellation = Cancellation()
    cancellation.request()
    with pytest.raises(CancelledError):
        run(path, cancellation=cancellation)
    assert not (folder / "trajectory.json").exists()
    run(path)
    assert (folder / "trajectory.json").exists()
    assert nothing_left(home, tmp_path)


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_where_no_one_handles_signals_is_recorded_and_the_next_start_cleans_up(
    home: Path, tmp_path: Path, shell_runbook: Write, moment: str
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    path = shell_runbook("echo made > /app/results/out.txt")
    with pytest.raises(KeyboardInterrupt):
        run(path, at(moment, interrupt))
    folder, kinds = record(home)
    if moment not in ("run.started", "run.finished"):
        assert kinds[-1] == "run.finished"
    assert run(path).trajectory.status == "completed"
    assert (folder / "trajectory.json").exists()
    assert nothing_left(home, tmp_path)


@pytest.mark.parametrize("moment", ["any", *MOMENTS])
def test_a_broken_reader_costs_the_run_nothing_and_is_told(
    home: Path, tmp_path: Path, shell_runbook: Write, moment: str
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug of the reader's")

    with pytest.raises(RuntimeError, match="of the reader's"):
        run(shell_runbook("echo made > /app/results/out.txt"), at(moment, fail))
    folder, kinds = record(home)
    assert kinds[-1] == "run.finished"
    assert '"status": "completed"' in (folder / "trajectory.json").read_text()
    assert nothing_left(home, tmp_path)
