"""Runs that came with the folder, as with a clone: they say of themselves what they like, and count for nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.trajectory.index.own_runs import Note, add_note, known_since, note_of, place_of

Write = Callable[[str], Path]


@pytest.fixture
def ended(runbook: Any, shell_runbook: Write) -> Callable[..., Path]:
    def run(*options: str, code: str = "echo x > /app/results/out.txt") -> Path:
        ran = runbook("run", shell_runbook(code), "--sandbox", "host", "--json", *options)
        return Path(ran.folder)

    return run


def as_cloned(folder: Path, name: str, year: str = "2999") -> Path:
    """A copy of a run as a stranger's, who says that it was of that year."""
    clone = folder.with_name(name)
    shutil.copytree(folder, clone)
    for file in (clone / "events.jsonl", clone / "trajectory.json"):
        file.write_text(file.read_text().replace('"ts":"20', f'"ts":"{year[:2]}').replace(': "20', f': "{year[:2]}'))
    body = json.loads((clone / "trajectory.json").read_text())
    (clone / "trajectory.json").write_text(json.dumps({**body, "created": f"{year}-11-30T00:00:00.000000Z"}))
    return clone


def test_a_run_that_came_with_a_clone_does_not_stand_in_for_an_own_one(runbook: Any, ended: Any) -> None:
    first = ended()
    clone = as_cloned(first, "f83ce50c")
    assert runbook("runs", "path", "@last").out == f"{first}\n"
    second = ended(code="exit 1")
    assert runbook("runs", "path", "@last").out == f"{second}\n"
    assert runbook("runs", "path", "@last-failed").out == f"{second}\n"
    listed = runbook("runs", "list", "--json").json["runs"]
    assert [(row["trajectory_id"], row["own"]) for row in listed] == [
        (second.name, True),
        (clone.name, False),
        (first.name, True),
    ]
    seen = runbook("runs", "list")
    assert " came with this folder" in seen.out
    assert "1 run of these came with this folder" in seen.err
    assert runbook("runs", "show", clone.name, "--json").json["own"] is False
    assert "came with this folder" in runbook("runs", "show", clone.name).out
    assert "came with this folder" not in runbook("runs", "show", "@last").out
    assert runbook("runs", "prune", "--keep", "1", "--json").json["removed"] == [str(first)]
    own = runbook("runs", "list", "--own", "--json").json["runs"]
    assert [row["trajectory_id"] for row in own] == [second.name]
    assert [task["total"] for task in runbook("runs", "stats", "--own", "--json").json["tasks"]] == [1]
    assert runbook("runs", "prune", "--older-than", "2999-12-31", "--max-size", "0M", "--json").json["removed"] == [
        str(second)
    ]
    assert clone.is_dir()
    left = runbook("runs", "prune", "--keep", "0", "--dry-run")
    assert left.out.startswith("would remove 0 runs")
    assert "hint: 1 run came with this folder and stays:" in left.err
    none = runbook("runs", "show", "@last")
    assert (none.code, "Name a run that came with the folder by its id." in none.err) == (2, True)
    assert runbook("runs", "rm", clone.name).code == 0


@pytest.mark.parametrize("name", ["trajectory.json", "labels.json", "events.jsonl"])
def test_an_own_run_that_is_written_over_is_a_strangers(runbook: Any, ended: Any, name: str) -> None:
    """As `git pull` does it, which replaces files that are ignored without a word."""
    run = ended(code="exit 1")
    assert runbook("runs", "label", "@last", "seen=yes").code == 0
    assert runbook("runs", "label", "@last", "--status", "archived").code == 0
    assert runbook("runs", "label", "@last", "--status", "recorded").code == 0
    assert runbook("runs", "list", "--json").json["runs"][0]["own"] is True
    content = (run / name).read_bytes()
    (run / name).unlink()
    (run / name).write_bytes(content.replace(b'"fail"', b'"pass"'))
    for _ in range(2):
        assert runbook("runs", "list", "--json").json["runs"][0]["own"] is False
        assert "came with this folder" in runbook("runs", "show", run.name).out
        assert runbook("runs", "path", "@last").code == 2
        assert runbook("runs", "label", run.name, "a=b").code == 0
    assert runbook("import", str(run)).code == 0
    assert runbook("runs", "path", "@last").out == f"{run}\n"


def test_a_log_that_is_written_over_while_the_run_goes_on_tells_nothing_of_it(
    runbook: Any, ended: Any, shell_runbook: Write
) -> None:
    good = ended()
    code = f"cd {good.parent}; for run in *; do cp {good.name}/events.jsonl new; mv new $run/events.jsonl; done; exit 1"
    ran = runbook("run", shell_runbook(code), "--sandbox", "host")
    assert (ran.code, "Another program replaced the log of this run" in ran.err) == (3, True)
    listed = runbook("runs", "list", "--json").json["runs"]
    assert {row["own"] for row in listed} == {False}


def test_no_folder_of_the_same_name_takes_the_place_of_an_own_run(runbook: Any, ended: Any) -> None:
    """Nor does the index have to be believed, which is made anew at any time."""
    run = ended()
    own = run.with_name("elsewhere")
    run.rename(own)
    shutil.copytree(own, run)
    for _ in range(2):
        listed = runbook("runs", "list", "--json").json["runs"]
        assert {row["trajectory_id"]: row["own"] for row in listed} == {run.name: False, "elsewhere": False}
        assert runbook("runs", "path", "@last").code == 2
        assert runbook("runs", "reindex").code == 0
    shutil.rmtree(run)
    own.rename(run)
    assert runbook("runs", "path", "@last").out == f"{run}\n"
    shutil.rmtree(runbook.data / "index")
    assert runbook("runs", "path", "@last").out == f"{run}\n"


def test_a_removed_run_is_no_longer_known_by_its_inode(runbook: Any, ended: Any) -> None:
    """Another folder may get it, with the same place."""
    run = ended()
    home, place, inode = run.parents[3], place_of(run), run.stat().st_ino
    assert note_of(run, runbook.data)
    runbook("runs", "list")  # it is in the index
    add_note(home, runbook.data, Note(place, inode, "gone"))
    for _ in range(2):
        assert note_of(run, runbook.data) is None
        assert [row["own"] for row in runbook("runs", "list", "--json").json["runs"]] == [False]
        assert runbook("runs", "reindex").code == 0
    add_note(home, runbook.data, Note(place, inode, "run"))
    assert runbook("runs", "path", "@last").out == f"{run}\n"
    assert runbook("runs", "rm", run.name).code == 0
    assert known_since(home, runbook.data).notes[-1] == Note(place, inode, "gone")


def test_what_was_imported_is_an_own_run(runbook: Any, ended: Any) -> None:
    ended()
    assert runbook("runs", "bundle", "@last", "-o", "run.zip").code == 0
    assert runbook("runs", "rm", "@last").code == 0
    assert runbook("import", "run.zip").code == 0
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert row["own"] is True
    assert runbook("runs", "path", "@last").out == f"{row['path']}\n"


def test_a_folder_or_a_zip_of_the_name_of_the_last_run_does_not_stand_in_for_it(runbook: Any, ended: Any) -> None:
    stranger, own = ended(), ended(code="echo y > /app/results/out.txt")
    assert runbook("runs", "bundle", stranger, "-o", "run.zip").code == 0
    at = runbook.cwd / "@last"

    def a_run() -> None:
        shutil.copytree(stranger, at)

    def a_recording() -> None:
        shutil.copytree(stranger, at / "recording")
        shutil.copy(stranger / "RUNBOOK.md", at)

    def results() -> None:
        shutil.copytree(stranger / "results", at)

    def a_bundle() -> None:
        shutil.copy(at.with_name("run.zip"), at)

    for made in (a_recording, results, a_bundle, a_run):
        made()
        compared = runbook("diff", "@last", str(own), "--json")
        assert (compared.code, compared.json["one"]["name"]) == (0, own.name), made
        replayed = runbook("replay", "@last", "--sandbox", "host", "--json")
        assert (replayed.code, replayed.json["parent_trajectory_id"]) == (0, own.name), replayed.err
        assert runbook("runs", "rm", replayed.json["trajectory_id"]).code == 0
        if made is not a_run:
            shutil.rmtree(at) if at.is_dir() else at.unlink()
    assert runbook("runs", "path", "@last").out == f"{own}\n"
    assert runbook("runs", "path", "./@last").out == f"{at}\n"
    assert runbook("replay", "./@last", "--sandbox", "host", "--json").json["parent_trajectory_id"] == stranger.name
    refused = runbook("runs", "path", "@last/events.jsonl")
    assert (refused.code, "A path is ./@NAME." in refused.err) == (2, True)


# --- what a recording may take of this machine -----------------------------------------------------------------------

GREEDY = {
    "cpus": 10_000.0, "memory_bytes": 1 << 45, "pids": 1 << 22, "open_files": 1 << 30, "disk_bytes": 1 << 45,
    "results_bytes": 1 << 45, "results_files": 1 << 20,
}  # fmt: skip


def with_limits(folder: Path, **limits: Any) -> Path:
    spec = json.loads((folder / "spec.json").read_text())
    spec["limits"].update(limits)
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


@pytest.mark.parametrize("brought", ["clone", "changed", "bundle", "import"])
def test_a_recording_of_others_does_not_raise_its_own_limits(runbook: Any, ended: Any, brought: str) -> None:
    run = ended("--disk", "1G")
    usual = json.loads((run / "spec.json").read_text())["limits"]
    name = str(with_limits(run, **GREEDY, timeout_s=77, max_calls=5))
    if brought == "clone":
        name = as_cloned(run, "f83ce50c").name
    elif brought in ("bundle", "import"):
        assert runbook("runs", "bundle", run, "-o", "run.zip").code == 0
        name = "run.zip"
    if brought == "import":
        assert runbook("import", "run.zip", "--id", "0badcafe").code == 0
        name = "0badcafe"
    if brought != "bundle":
        ran = runbook("rerun", name, "--sandbox", "host", "--memory", "9G", "--dry-run", "--json")
        limits = {**usual, "timeout_s": 77.0, "max_calls": 5, "memory_bytes": 9 << 30, "disk_bytes": 20 << 30}
        assert ran.json["spec"]["limits"] == limits
        assert "limit cpus: recorded 10000.0, now 4.0" in ran.err
    replayed = runbook("replay", name, "--sandbox", "host", "--network", "full", "--json")
    assert replayed.code == 0, replayed.err
    spec = json.loads((Path(replayed.json["path"]) / "spec.json").read_text())
    assert spec["limits"] == {**usual, "timeout_s": 77.0, "max_calls": 5, "disk_bytes": 20 << 30}
    assert "lowered to the defaults: cores 4, memory 8192M" in replayed.err


def test_lower_limits_of_others_and_all_of_an_own_run_stay(runbook: Any, ended: Any) -> None:
    run = ended("--memory", "16G", "--cpus", "2")
    for name, memory in ((run.name, 16 << 30), (as_cloned(run, "f83ce50c").name, 8 << 30)):
        ran = runbook("replay", name, "--sandbox", "host", "--json")
        limits = json.loads((Path(ran.json["path"]) / "spec.json").read_text())["limits"]
        assert (limits["memory_bytes"], limits["cpus"]) == (memory, 2)
        assert ("lowered" in ran.err) == (memory == 8 << 30)


def test_the_runs_of_a_project_that_was_moved_can_be_taken_on(runbook: Any, ended: Any, tmp_path: Path) -> None:
    first, second = ended(), ended()
    moved = tmp_path / "moved"
    shutil.move(runbook.cwd / ".runbook", moved)
    env = {"RUNBOOK_HOME": str(moved)}
    assert runbook("runs", "path", "@last", env=env).code == 2
    folder = moved / first.relative_to(runbook.cwd / ".runbook")
    assert runbook("import", folder, env=env).out.startswith(f"A run of yours from now on: local/test {first.name}: ")
    assert runbook("import", folder, "--json", env=env).json["trajectory_id"] == first.name
    assert runbook("runs", "path", "@last", env=env).out == f"{folder}\n"
    assert [row["trajectory_id"] for row in runbook("runs", "list", "--own", "--json", env=env).json["runs"]] == [
        first.name
    ]
    for other in (moved, folder.parent, folder / "results", tmp_path):
        assert "This is a folder." in runbook("import", other, env=env).err
    elsewhere = moved / second.relative_to(runbook.cwd / ".runbook")
    there = runbook("import", elsewhere)
    assert (there.code, "This is a folder of a run in another home." in there.err) == (2, True)
    assert "`runbook runs bundle FOLDER -o FILE`" in there.err
    assert runbook("runs", "bundle", elsewhere, "-o", "it.zip").code == 0
    assert runbook("import", "it.zip").code == 0
