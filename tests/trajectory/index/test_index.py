"""The index: a cache that is never believed."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Event, Recorded, RunFinished, RunStarted
from runbook_runner.trajectory import cost
from runbook_runner.trajectory.index import index
from runbook_runner.trajectory.index.index import Index, index_path, rebuilt, remove_index, with_index
from runbook_runner.trajectory.index.names import find_folder
from runbook_runner.trajectory.index.own_runs import FOLDER as OWN
from runbook_runner.trajectory.index.own_runs import Note, add_note, note_of
from runbook_runner.trajectory.index.rows import Row
from runbook_runner.trajectory.overlay import set_labels, set_status
from runbook_runner.trajectory.store import write_fold

Add = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    return tmp_path / "home"


@pytest.fixture
def index_file(home: Path, tmp_path: Path) -> Path:
    return index_path(home, tmp_path / "data")


@pytest.fixture
def add(home: Path, tmp_path: Path) -> Add:
    def write(name: str, *, task: str = "t", status: str | None = "completed", day: int = 1) -> Path:
        folder = home / "trajectories" / "acme" / task / name
        (folder / "agent").mkdir(parents=True)
        started = RunStarted(
            trajectory_id=name,
            collection="acme",
            task=task,
            author="me",
            spec_digest="sha256:0",
            init_params={"agent": "shell", "model": None},
            step_config={},
            labels={"team": "red"},
            engine="runbook-runner/0",
        )
        events: list[Event] = [started]
        if status:
            events.append(RunFinished(status=status, seconds=2.5))  # type: ignore[arg-type]
        lines = [
            Recorded(seq=seq, ts=f"2026-03-{day:02d}T10:00:0{seq}.000000Z", event=event).line() + "\n"
            for seq, event in enumerate(events, 1)
        ]
        (folder / "events.jsonl").write_text("".join(lines))
        if status:
            write_fold(folder)
        note = Note(f"acme/{task}/{name}", folder.stat().st_ino, "run")
        add_note(home, tmp_path / "data", note)
        return folder

    return write


def listed(home: Path, where: str = "1", *values: Any) -> list[Row]:
    return with_index(home, lambda index: index.rows(where, values, "dated, folder", 1000))


def ids(home: Path, where: str = "1", *values: Any) -> list[str]:
    return [row.id for row in listed(home, where, *values)]


def settle(home: Path) -> None:
    """As if all had been written long ago: only then are times believed."""
    for folder in sorted((home / "trajectories").rglob("*"), reverse=True):
        os.utime(folder, (1_700_000_000, 1_700_000_000))
    listed(home)


def test_a_run_is_listed_with_what_its_folder_says(home: Path, add: Add) -> None:
    add("aaaa0001")
    (row,) = listed(home)
    assert (row.folder, row.status, row.agent, row.model) == ("acme/t/aaaa0001", "completed", "shell", None)
    assert (row.created, row.seconds) == ("2026-03-01T10:00:01.000000Z", 2.5)
    assert with_index(home, lambda index: index.labels(row)) == {"team": "red"}


def test_the_index_is_private_and_not_in_the_home(home: Path, add: Add, index_file: Path) -> None:
    add("aaaa0001")
    listed(home)
    assert index_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["trajectories"]


def test_runs_that_come_go_and_change_are_seen_at_once(home: Path, add: Add) -> None:
    first = add("aaaa0001")
    settle(home)
    add("aaaa0002", day=2)
    assert ids(home) == ["aaaa0001", "aaaa0002"]
    set_labels(first, {"quality": "high"}, "me")
    assert ids(home, "folder IN (SELECT folder FROM labels WHERE key = 'quality')") == ["aaaa0001"]
    set_status(first, "archived")
    assert ids(home, "status = 'archived'") == ["aaaa0001"]
    first.rename(home / "elsewhere")
    assert ids(home) == ["aaaa0002"]


def test_a_row_is_held_against_its_files_before_it_is_shown(home: Path, add: Add) -> None:
    """Another program has changed them, and no folder's time tells."""
    folder = add("aaaa0001")
    settle(home)
    body = json.loads((folder / "trajectory.json").read_text())
    (folder / "trajectory.json").write_text(json.dumps({**body, "status": "failed"}))
    assert [row.status for row in listed(home)] == ["failed"]


def test_a_live_run_is_seen_to_end(home: Path, add: Add) -> None:
    folder = add("aaaa0001", status=None)
    assert [row.status for row in listed(home)] == ["running"]
    settle(home)
    line = Recorded(seq=2, ts="2026-03-01T10:00:09.000000Z", event=RunFinished(status="failed", error="no", seconds=1))
    with (folder / "events.jsonl").open("a") as log:
        log.write(line.line() + "\n" + '{"seq": 3, "ts": "torn')
    assert [(row.status, row.error) for row in listed(home, "status = 'failed'")] == [("failed", "no")]


@pytest.mark.parametrize("damage", ["torn", "empty", "other version", "no tables", "a text"])
def test_a_damaged_index_is_made_again(home: Path, add: Add, index_file: Path, damage: str) -> None:
    for number in range(200):
        add(f"aaaa{number:04d}")
    listed(home)
    if damage == "torn":
        for name in (index_file.name + "-wal", index_file.name + "-shm"):
            index_file.with_name(name).unlink(missing_ok=True)
        whole = index_file.read_bytes()
        index_file.write_bytes(whole[:5000] + b"\xff" * (len(whole) // 2))
    elif damage == "empty":
        index_file.write_bytes(b"")
    elif damage == "a text":
        index_file.write_text("no database\n" * 1000)
    else:
        database = sqlite3.connect(index_file)
        database.executescript("PRAGMA user_version = 99" if damage == "other version" else "DROP TABLE labels")
        database.close()
    assert len(listed(home, "folder IN (SELECT folder FROM labels WHERE key = 'team')")) == 200
    assert sqlite3.connect(index_file).execute("SELECT count(*) FROM runs").fetchone() == (200,)


def test_an_index_that_is_deleted_while_it_is_in_use_harms_nothing(home: Path, add: Add, index_file: Path) -> None:
    add("aaaa0001")

    def use(index: Index) -> list[Row]:
        for path in index_file.parent.iterdir():
            path.unlink()
        add("aaaa0002") if not (home / "trajectories/acme/t/aaaa0002").exists() else None
        index.refresh()
        return index.rows("1", (), "id", 10)

    assert len(with_index(home, use)) == 2
    assert ids(home) == ["aaaa0001", "aaaa0002"]


def test_a_closed_data_folder_costs_only_the_index(home: Path, add: Add, tmp_path: Path) -> None:
    add("aaaa0001")
    (tmp_path / "data").chmod(0o777)
    assert ids(home) == ["aaaa0001"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == [OWN]


def test_a_locked_index_is_read_past(home: Path, add: Add, index_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook_runner.trajectory.index.index._PATIENCE_S", 0.05)
    add("aaaa0001")
    listed(home)
    other = sqlite3.connect(index_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    add("aaaa0002")
    assert ids(home) == ["aaaa0001", "aaaa0002"]
    other.close()


def test_a_home_that_was_moved_is_listed_there(home: Path, add: Add) -> None:
    add("aaaa0001")
    settle(home)
    moved = home.rename(home.with_name("moved"))
    assert ids(moved) == ["aaaa0001"]
    assert ids(home) == []


def test_links_are_not_followed(home: Path, add: Add, tmp_path: Path) -> None:
    folder = add("aaaa0001")
    (folder.parent / "aaaa0002").symlink_to(folder)
    (folder.parents[1] / "other").symlink_to(folder.parent)
    (folder.parent / "aaaa0003").mkdir()
    (folder.parent / "aaaa0003" / "trajectory.json").symlink_to(folder / "trajectory.json")
    assert [(row.id, row.problem is None) for row in listed(home)] == [("aaaa0003", False), ("aaaa0001", True)]


@pytest.mark.parametrize(
    "text",
    [b"\0" * 5000, b"", b"[]", b"{", b'{"status": 7}', b"[" * 100_000, b'{"steps": [1], "labels": 7}', b"\xff\xfe"],
)
def test_a_damaged_trajectory_is_a_row_that_says_so(home: Path, add: Add, text: bytes) -> None:
    (add("aaaa0001") / "trajectory.json").write_bytes(text)
    (row,) = listed(home)
    assert row.status is None
    assert row.problem


def test_what_a_newer_version_has_added_is_listed(home: Path, add: Add) -> None:
    folder = add("aaaa0001")
    body = json.loads((folder / "trajectory.json").read_text())
    body["steps"]["later"] = {"outputs": "text", "duration_seconds": "long"}
    (folder / "trajectory.json").write_text(json.dumps({**body, "added": [1]}))
    assert [row.status for row in listed(home)] == ["completed"]


def test_a_clock_that_goes_back_hides_nothing(home: Path, add: Add) -> None:
    add("aaaa0001")
    task = home / "trajectories/acme/t"
    os.utime(task, (4_000_000_000, 4_000_000_000))
    assert ids(home) == ["aaaa0001"]
    add("aaaa0002")
    os.utime(task, (1_000_000_000, 1_000_000_000))
    assert ids(home) == ["aaaa0001", "aaaa0002"]


_LISTS = """
import sys
from pathlib import Path
from runbook_runner.trajectory.index.index import with_index
for _ in range(20):
    print(len(with_index(Path(sys.argv[1]), lambda index: index.rows("1", (), "id", 1000))))
"""


def test_processes_use_one_index_while_runs_come(home: Path, add: Add) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", _LISTS, str(home)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for number in range(60):
        add(f"aaaa{number:04d}")
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        counts = [int(line) for line in out.split()]
        assert counts == sorted(counts)
    assert len(ids(home)) == rebuilt(home) == 60


def test_a_run_that_another_process_adds_while_a_folder_is_listed_is_not_forgotten(
    home: Path, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("aaaa0001")
    folders = index._runs

    def runs_of(path: str) -> list[tuple[str, str]]:
        found = [*folders(path)]
        if len(found) == 1:
            add("aaaa0002")
            with_index(home, lambda other: other.count("1", ()))
        return found

    monkeypatch.setattr(index, "_runs", runs_of)
    assert with_index(home, lambda ours: ours.count("1", ())) == 2


def test_an_index_that_is_deleted_while_processes_use_it_costs_no_run(home: Path, add: Add, index_file: Path) -> None:
    for number in range(5):
        add(f"aaaa{number:04d}")
    processes = [
        subprocess.Popen([sys.executable, "-c", _LISTS, str(home)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    while any(process.poll() is None for process in processes):
        remove_index(index_file)
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        assert out.split() == [b"5"] * 20
    assert len(ids(home)) == 5


def test_threads_label_one_run_and_nothing_is_lost(home: Path, add: Add) -> None:
    folder = add("aaaa0001")
    threads = [threading.Thread(target=set_labels, args=(folder, {f"k{i}": "v"}, "me")) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(json.loads((folder / "trajectory.json").read_text())["labels"]) == 21
    assert len(with_index(home, lambda index: index.labels(index.rows("1", (), "id", 1)[0]))) == 21


# --- names ---------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_each_of_its_names(home: Path, add: Add) -> None:
    first, second = add("aaaa0001"), add("abcd0002", day=2, status="failed")
    third = add("tr-123", day=3)
    for name in ("aaaa0001", "aaa", str(first), "acme/t/aaaa0001"):
        assert find_folder(home, name) == first
    assert find_folder(home, "@last") == third == find_folder(home, "tr-")
    assert find_folder(home, "@last-failed") == second


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aaaa0011", "Did you mean 'aaaa0001'?"),
        ("@lst", "Did you mean '@last'?"),
        ("@last-failed", "has ended with FAIL, ERROR or CANCELLED"),
        ("../../../etc", "There is no trajectory"),
        ("acme/../t", "There is no trajectory"),
        ("a\0b", "There is no trajectory"),
        ("%%%", "There is no trajectory"),
        ("*", "There is no trajectory"),
        ("x" * 5000, "There is no trajectory"),
        ("aaaa", "2 trajectories have ids that begin with aaaa"),
    ],
)
def test_a_name_that_no_run_has_is_told(home: Path, add: Add, name: str, said: str) -> None:
    add("aaaa0001"), add("aaaa0002", task="u")
    with pytest.raises(InputError) as caught:
        find_folder(home, name)
    assert said in str(caught.value)


def test_own_runs_are_known_whatever_becomes_of_the_index(home: Path, add: Add, index_file: Path) -> None:
    first, second = add("aaaa0001"), add("aaaa0002", day=2)
    assert find_folder(home, "@last") == second
    remove_index(index_file)
    assert find_folder(home, "@last") == second
    other = second.with_name("elsewhere")
    second.rename(other)
    second.mkdir()
    for file in ("events.jsonl", "trajectory.json"):
        (second / file).write_bytes((other / file).read_bytes())
    assert find_folder(home, "@last") == first
    add("aaaa0003", day=3)
    assert find_folder(home, "@last").name == "aaaa0003"


@pytest.mark.parametrize("damage", ["torn", "text", "gone", "open to others"])
def test_what_is_known_of_own_runs_survives_damage(home: Path, add: Add, tmp_path: Path, damage: str) -> None:
    run = add("aaaa0001")
    assert find_folder(home, "@last") == run
    (file,) = (tmp_path / "data" / OWN).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    if damage == "torn":
        file.write_bytes(file.read_bytes() + b'{"folder": "acme/t')
    elif damage == "text":
        file.write_bytes(b"[1]\nno\n{}\n\xff\n" + file.read_bytes())
    elif damage == "gone":
        file.unlink()
    else:
        file.parent.chmod(0o777)
    is_known = damage in ("torn", "text")
    assert [row.is_own for row in listed(home)] == [int(is_known)]
    assert (note_of(run, tmp_path / "data") is not None) == is_known
    file.parent.chmod(0o700)
    newer = add("aaaa0002", day=2)
    assert find_folder(home, "@last") == newer


def test_a_time_that_has_not_come_yet_is_not_the_latest_for_good(home: Path, add: Add) -> None:
    ahead = add("aaaa0001")
    body = json.loads((ahead / "trajectory.json").read_text())
    (ahead / "trajectory.json").write_text(json.dumps({**body, "created": "2999-01-01T00:00:00.000000Z"}))
    (row,) = listed(home)
    assert (row.created, row.dated is not None and row.dated < "2100") == ("2999-01-01T00:00:00.000000Z", True)


def test_another_folder_in_the_same_place_is_read_anew(home: Path, add: Add) -> None:
    """With the very times of the first, as a copy that keeps them has."""
    first, other = add("aaaa0001"), add("aaaa0002", status="failed", day=2)
    settle(home)
    seen = [first.parent.stat(), first.stat()]
    other.rename(home / "elsewhere")
    first.rename(other)
    (home / "elsewhere").rename(first)
    for folder, times in zip((first.parent, first), seen, strict=True):
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ids(home, "status = 'failed'") == ["aaaa0001"]


def test_a_filter_sees_what_was_changed_in_its_place(home: Path, add: Add) -> None:
    folder = add("aaaa0001")
    settle(home)
    body = json.loads((folder / "trajectory.json").read_text())
    (folder / "trajectory.json").write_text(json.dumps({**body, "status": "failed"}))
    for place in (folder, folder.parent):
        os.utime(place, (1_700_000_000, 1_700_000_000))
    assert ids(home, "status = 'failed'") == ["aaaa0001"]


def test_a_file_that_is_small_on_the_disk_and_large_in_memory_is_not_read_for_a_list(home: Path, add: Add) -> None:
    whole, large = add("aaaa0001"), add("aaaa0002", day=2)
    body = (large / "trajectory.json").read_text().strip().removesuffix("}")
    (large / "trajectory.json").write_text(f'{body}, "x": [{"[]," * 1_000_000}0]}}')
    rows = {row.id: (row.status, row.problem) for row in listed(home)}
    assert rows == {whole.name: ("completed", None), large.name: (None, "its trajectory.json is too large")}
    broken: list[Path] = []
    list(cost.runs(home, None, broken))
    assert large / "trajectory.json" in broken


def test_a_run_with_as_many_results_as_there_may_be_is_listed(home: Path, add: Add) -> None:
    folder = add("aaaa0001")
    body = json.loads((folder / "trajectory.json").read_text())
    file = {
        "path": "results/" + "x" * 200,
        "key": "k" * 200,
        "size": 1,
        "sha256": "0" * 64,
        "content_type": "text/plain",
    }
    text = json.dumps({**body, "files": [file] * 20_000}, indent=1)
    (folder / "trajectory.json").write_text(text)
    assert [(row.status, row.problem) for row in listed(home)] == [("completed", None)]
