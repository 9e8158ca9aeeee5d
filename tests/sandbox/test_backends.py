"""The table of backends: a new one is one module and one row, and no other room compares a backend's name."""

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import runbook_runner
from runbook_runner import runner
from runbook_runner.core.errors import ExitCode, InputError, NotReadyError
from runbook_runner.core.settings import DEFAULT_OPEN_FILES
from runbook_runner.runner import RunOptions, RunRequest
from runbook_runner.runner.recovery.recover import recover_dead
from runbook_runner.sandbox.backends import AUTO, BACKENDS, Backend, find_backend
from runbook_runner.sandbox.local.folder_sandbox import FolderBackend, FolderSandbox
from runbook_runner.sandbox.local.process import Orders

# --- a new backend: this class is what its module would hold, ROW its row -------------------------------------------


class PlainSandbox(FolderSandbox):
    """A temporary folder in which commands run as they are."""

    backend = "plain"

    def _command(
        self, argv: Sequence[str], environment: dict[str, str], cwd: str, deadline_s: float
    ) -> tuple[list[str], Orders, Sequence[int]]:
        return list(argv), Orders(environment, str(self._path(cwd)), deadline_s, None, DEFAULT_OPEN_FILES), ()

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"]}


ROW = Backend("plain", lambda _: FolderBackend(PlainSandbox), place="in a plain folder", policies=("full",))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunOptions:
    """Options of a run in the new backend, which the table has in this test."""
    monkeypatch.setitem(BACKENDS, ROW.name, ROW)
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    return RunOptions(sandbox="plain")


def test_new_backend_takes_one_row_and_runs_a_runbook(plain: RunOptions, shell_runbook, tmp_path: Path) -> None:
    path = shell_runbook("echo made > /app/results/out.txt; pwd")
    prepared = runner.prepare(RunRequest(str(path), options=plain))
    assert any(line.endswith("in a plain folder") for line in prepared.plan())
    outcome = runner.run(prepared)
    assert outcome.exit_code == ExitCode.PASS
    assert (outcome.folder / "results/out.txt").read_text() == "made\n"
    assert '"backend":"plain"' in (outcome.folder / "events.jsonl").read_text()
    assert "The plain sandbox isolates nothing" in (outcome.folder / "events.jsonl").read_text()


def test_leftovers_of_a_new_backend_are_found_and_removed(plain: RunOptions, shell_runbook, tmp_path: Path) -> None:
    path = shell_runbook("echo made > /app/results/out.txt")
    outcome = runner.run(runner.prepare(RunRequest(str(path), options=RunOptions(sandbox="plain", keep=True))))
    (run,) = recover_dead(tmp_path / "data", {}, kept_too=True)
    assert run.run_id == outcome.folder.name
    assert run.backend is ROW
    assert run.entry.kept
    assert [folder.exists() for folder in run.folders] == [False]


def test_policy_that_a_backend_can_not_keep_is_refused(plain: RunOptions, shell_runbook) -> None:
    request = RunRequest(str(shell_runbook("true")), options=plain, network="none")
    with pytest.raises(InputError, match="The plain sandbox can't keep the network policy none") as caught:
        runner.prepare(request)
    assert "--sandbox docker or --sandbox bubblewrap" in str(caught.value)


def test_auto_takes_the_first_that_can_do_what_is_asked_and_works(
    plain: RunOptions, shell_runbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int | None) -> FolderBackend:
        raise NotReadyError("It is broken.")

    for name in ("docker", "bubblewrap"):
        monkeypatch.setitem(BACKENDS, name, row_like(BACKENDS[name], broken))
    request = RunRequest(str(shell_runbook("true")), options=RunOptions(sandbox=AUTO))
    with pytest.raises(NotReadyError, match="It is broken") as caught:
        runner.prepare(request)
    assert caught.value.details == "Nor can bubblewrap be used: It is broken."
    monkeypatch.setitem(BACKENDS, ROW.name, row_like(ROW, ROW.open, usual=True))
    assert runner.prepare(request).backend.name == "plain"


def row_like(row: Backend, open_, **changed) -> Backend:
    return Backend(**{**vars(row), "open": open_, **changed})


def test_unknown_backend_names_those_there_are() -> None:
    with pytest.raises(InputError, match="Unknown sandbox 'vm'") as caught:
        find_backend("vm")
    assert caught.value.hint == "Known sandboxes: auto, docker, bubblewrap, host."
    with pytest.raises(InputError, match="Did you mean 'docker'\\? Known sandboxes: auto,"):
        find_backend("dokcer")


# --- names ----------------------------------------------------------------------------------------------------------

OTHER_MEANINGS = {
    "core/network/addresses.py": "the named group of a pattern",
}


def names_of_backends(file: Path) -> Iterator[int]:
    """Lines with a string that is a backend's name; help texts hold more than the name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and node.value in BACKENDS:
            yield node.lineno


def test_no_room_but_the_sandbox_says_the_name_of_a_backend() -> None:
    package = Path(runbook_runner.__file__).parent
    files = {file.relative_to(package).as_posix(): file for file in package.rglob("*.py")}
    found = {name: list(names_of_backends(file)) for name, file in files.items() if not name.startswith("sandbox/")}
    assert {name: lines for name, lines in found.items() if lines and name not in OTHER_MEANINGS} == {}
    assert all(found[name] for name in OTHER_MEANINGS), "nothing is excused that need not be"
