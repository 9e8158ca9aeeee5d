"""A session without a terminal: what it tells an edge, and what the edge may ask."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError, RunbookError
from runbook_runner.core.events import Recorded
from runbook_runner.runner import PreparedRun, Question, RunOptions, RunRequest
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.trajectory.recorder import Reader

BOOK = """\
---
version: "1.0.0"
evaluation: programmatic
agent: shell
---
# Test

## Parameters

| Parameter | Template Variable | Default | Description |
|---|---|---|---|
| Name | `{{name}}` | *(required)* | Whom to greet |

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Step 1: Work

```bash
echo "hello {{name}}" > /app/results/out.txt
```
"""


class Edge:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.events: list[str] = []
        self.results: list[str] = []
        self.fails = False
        self.at_end: Callable[[], object] = lambda: None

    def changed(self, changes: Sequence[Any]) -> None:
        self.told += [f"{change.kind} {change.path.name}" for change in changes]

    def checked(self) -> bool:
        return True

    def refused(self, error: RunbookError) -> None:
        self.told.append(f"refused: {error.message}")

    def busy(self, on_busy: str) -> None:
        self.told.append(on_busy)

    @contextmanager
    def running(self, prepared: PreparedRun, cancellation: Cancellation) -> Iterator[Sequence[Reader]]:
        def read(recorded: Recorded) -> None:
            self.events.append(str(recorded.event.type))  # type: ignore[attr-defined]

        yield (read,)

    def ended(self, repeated: Any) -> None:
        if self.fails:
            raise ValueError("a fault of the edge")
        self.told.append(repeated.outcome.trajectory.status)
        file = repeated.outcome.folder / "results" / "out.txt"
        self.results.append(file.read_text() if file.exists() else "")
        self.at_end()

    def waits(self, *, check_only: bool) -> None:
        self.told.append("only checks" if check_only else "waits")

    def warn(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    return tmp_path / "home"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    folder = tmp_path / "book"
    folder.mkdir()
    (folder / "RUNBOOK.md").write_text(BOOK)
    return folder / "RUNBOOK.md"


Hold = Callable[..., tuple[Any, Edge, list[BaseException]]]


@pytest.fixture
def hold(book: Path) -> Iterator[Hold]:
    """Holds a session in a thread; what it raises is in the list."""
    from runbook_runner.runner.watch.session import Session, WatchOptions

    held: list[tuple[Any, threading.Thread]] = []

    def start(ask: Any = None, **options: Any) -> tuple[Any, Edge, list[BaseException]]:
        edge, raised = Edge(), list[BaseException]()
        request = RunRequest(str(book), options=RunOptions(sandbox="host", trust=True))
        session = Session(request, WatchOptions(**options), edge, ask)

        def work() -> None:
            try:
                session.hold()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        held.append((session, thread))
        return session, edge, raised

    yield start
    for session, thread in held:
        session.quit()
        thread.join(60)
        assert not thread.is_alive()


def answers(question: Question) -> str:
    assert question.name == "name"
    return "Ada"


def test_an_answer_of_the_first_run_holds_for_all_and_each_event_is_told(
    hold: Hold, book: Path, eventually: Callable[..., Any]
) -> None:
    _, edge, _ = hold(answers)
    eventually(lambda: edge.told == ["completed", "waits"])
    book.write_text(BOOK.replace("hello", "good day"))
    eventually(lambda: edge.told[2:] == ["changed RUNBOOK.md", "completed", "waits"])
    assert edge.results == ["hello Ada\n", "good day Ada\n"]
    assert edge.events.count("run.started") == edge.events.count("run.finished") == 2
    book.write_text(BOOK.replace("{{name}}", "{{other}}"))
    eventually(lambda: edge.told[5:6] == ["changed RUNBOOK.md"] and edge.told[-1] == "waits" and len(edge.told) == 8)
    assert edge.told[6].startswith("refused: ")


def test_a_save_in_the_moment_in_which_a_run_ends_is_run(
    hold: Hold, book: Path, eventually: Callable[..., Any]
) -> None:
    _, edge, _ = hold(answers)
    saves = iter((BOOK.replace("hello", "bye"), BOOK.replace("hello", "welcome")))
    edge.at_end = lambda: book.write_text(next(saves, book.read_text()))
    eventually(lambda: edge.results == ["hello Ada\n", "bye Ada\n", "welcome Ada\n"])


def test_what_is_missing_at_first_is_raised(hold: Hold, eventually: Callable[..., Any]) -> None:
    _, edge, raised = hold()
    eventually(lambda: raised)
    assert isinstance(raised[0], InputError)
    assert edge.told == []


def test_a_fault_of_the_edge_ends_the_session_and_the_run(
    hold: Hold, book: Path, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    _, edge, raised = hold(answers)
    edge.fails = True
    eventually(lambda: raised)
    assert isinstance(raised[0], ValueError)
    assert [*(tmp_path / "data").glob("runs/*"), *(tmp_path / "data").glob("work/*")] == []


def test_check_only_is_toggled_and_a_rerun_is_asked_for(hold: Hold, book: Path, eventually: Callable[..., Any]) -> None:
    session, edge, _ = hold(answers, check_only=True)
    eventually(lambda: edge.told == ["only checks"])
    session.toggle_check_only()
    eventually(lambda: edge.told == ["only checks", "waits"])
    book.write_text(BOOK.replace("{{name}}", "you").replace("*(required)*", "you"))
    eventually(lambda: edge.told[-2:] == ["completed", "waits"])
    session.rerun()
    eventually(lambda: edge.told[-4:] == ["completed", "waits", "completed", "waits"])


@pytest.mark.parametrize("name", ["-", "https://example.com/RUNBOOK.md"])
def test_only_files_can_be_watched(name: str) -> None:
    from runbook_runner.runner.watch.session import Session, WatchOptions

    with pytest.raises(InputError, match="Only a file can be watched"):
        Session(RunRequest(name), WatchOptions(), Edge())
