"""`runbook runs list`, `path`, `label`, `stats`, `reindex`: runs are found at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.settings import Settings
from runbook_runner.trajectory.index.own_runs import Note, add_note
from runbook_runner.trajectory.store import write_fold

HELLO = Path(__file__).parents[4] / "examples" / "hello"
Put = Callable[..., Path]


@pytest.fixture
def put(runbook: Any) -> Put:
    """Puts the trajectory of a run into the home: as `runbook run` writes it, apart from what is given."""
    shape = runbook("run", HELLO, "--sandbox", "host", "--json")
    assert shape.code == 0, shape.err

    def write(
        number: int, *, task: str = "task", day: int = 4, model: str = "m", score: float = 4.0, **top: Any
    ) -> Path:
        one = json.loads(json.dumps(shape.trajectory))
        one["init_params"]["model"] = model
        one["attributes"]["params"]["judge"] = {"score": score}
        one["steps"]["run"]["duration_seconds"] = float(number)
        one["steps"]["run"]["outputs"]["usage"].update(total_tokens=100, cost_usd=0.5 if number else None)
        one |= {"created": f"2026-03-{day:02d}T10:00:00.000000Z", **top}
        folder = Path(runbook.cwd / ".runbook" / "trajectories" / "acme" / task / f"{number:08x}")
        folder.mkdir(parents=True)
        (folder / "trajectory.json").write_text(json.dumps(one, indent=1))
        (folder / "events.jsonl").write_bytes((shape.folder / "events.jsonl").read_bytes())
        note = Note(f"acme/{task}/{number:08x}", folder.stat().st_ino, "run")
        add_note(runbook.cwd / ".runbook", runbook.data, note)
        return folder

    return write


def listed(runbook: Any, *options: str) -> list[str]:
    ran = runbook("runs", "list", "--json", "--task", "acme/*", *options)
    assert ran.code == 0, ran.err
    return [run["trajectory_id"][-1] for run in ran.json["runs"]]


def test_runs_are_filtered_sorted_and_paged(runbook: Any, put: Put) -> None:
    put(1, day=1)
    put(2, day=2, status="failed", model="big-1")
    put(3, day=3, task="other", score=2.5, labels=[{"key": "team", "value": "red", "created": "", "author": ""}])
    assert listed(runbook) == ["3", "2", "1"]
    assert listed(runbook, "--reverse", "--limit", "2") == ["1", "2"]
    assert listed(runbook, "--limit", "2", "--page", "2") == ["1"]
    assert listed(runbook, "--status", "failed") == ["2"]
    assert listed(runbook, "--verdict", "fail") == []
    assert listed(runbook, "--task", "other", "--verdict", "pass", "--score", "<3") == ["3"]
    assert listed(runbook, "--label", "team=red") == listed(runbook, "--label", "team") == ["3"]
    assert listed(runbook, "--without-label", "team=red") == listed(runbook, "--without-label", "team") == ["2", "1"]
    assert listed(runbook, "--without-label", "team=blue") == ["3", "2", "1"]
    assert listed(runbook, "--model", "big-*") == ["2"]
    assert listed(runbook, "--since", "2026-03-02", "--before", "2026-03-03") == ["2"]
    assert listed(runbook, "--sort", "score", "--limit", "1", "--reverse") == ["3"]
    page = runbook("runs", "list", "--limit", "2", "--json").json
    assert (page["total"], page["has_more"]) == (4, True)


def test_a_list_is_a_table_that_fits_the_terminal(runbook: Any, put: Put) -> None:
    put(1, task="a-task-with-a-very-long-name-" + "x" * 60)
    narrow = runbook("runs", "list", env={"COLUMNS": "80"}).out.splitlines()
    assert all(len(line) <= 80 for line in narrow)
    assert "…" in narrow[-1]
    assert "TOKENS" not in narrow[0]
    assert "TOKENS" in runbook("runs", "list", "--sort", "tokens", env={"COLUMNS": "80"}).out
    assert " OTHER " in runbook("runs", "stats", env={"COLUMNS": "80"}).out
    wide = runbook("runs", "list", env={"COLUMNS": "200"}).out
    assert all(word in wide for word in ("SCORE", "MODEL", "x" * 60, "0.5000", "2026-03-04 10:00"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--status", "compleded"), "Did you mean 'completed'?"),
        (("--score", "good"), "is not a score"),
        (("--without-label", "=x"), "--without-label: '=x' is not a label"),
        (("--since", "soon"), "is not a date or an age"),
        (("--limit", "0"), "a number from 1"),
        (("--sort", "colour"), "Unknown --sort 'colour'"),
    ],
)
def test_a_wrong_filter_is_told(runbook: Any, options: tuple[str, ...], said: str) -> None:
    ran = runbook("runs", "list", *options)
    assert ran.code == 2
    assert said in ran.err


def test_a_name_that_no_run_has_is_answered_with_one_that_was_meant(runbook: Any, put: Put) -> None:
    put(1, task="report")
    assert "Did you mean 'report'?" in runbook("runs", "list", "--task", "repotr").out


def test_what_a_clone_brings_is_shown_without_effect(runbook: Any, put: Put) -> None:
    put(1, model="\x1b[31mred\x1b[0m\n\u202ex", error="[bold]")
    out = runbook("runs", "list").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    (runbook.cwd / ".runbook/trajectories/acme/task/evil").symlink_to("/etc")
    assert "evil" not in runbook("runs", "list").out
    assert "evil is a link" in runbook("runs", "path", "@last").err


def test_a_home_that_is_a_link_is_refused(runbook: Any, tmp_path: Path) -> None:
    (tmp_path / ".runbook").symlink_to("/etc")
    ran = runbook("runs", "list")
    assert ran.code == 3
    assert "is a link" in ran.err


def test_labels_and_statuses_are_set_and_outlive_a_fold(runbook: Any, put: Put) -> None:
    folder = put(1)
    ran = runbook(
        "runs", "label", "00000001", "quality=high", "a=b=c", "--author", "eve", "--status", "archived", "--json"
    )
    assert ran.code == 0, ran.err
    assert [(one["key"], one["value"], one["author"]) for one in ran.json["labels"]] == [
        ("quality", "high", "eve"),
        ("a", "b=c", "eve"),
    ]
    body = json.loads((folder / "trajectory.json").read_text())
    assert body["status"] == "archived"
    assert {"quality": "high", "a": "b=c"}.items() <= {one["key"]: one["value"] for one in body["labels"]}.items()
    (folder / "agent").mkdir()
    write_fold(folder)
    folded = json.loads((folder / "trajectory.json").read_text())
    assert (folded["status"], folded["labels"]) == ("archived", body["labels"])
    assert listed(runbook, "--status", "archived", "--label", "quality=high") == ["1"]
    for wrong in (("nokey",), ("=x",), ("--status", "running"), ()):
        assert runbook("runs", "label", "00000001", *wrong).code == 2


def test_a_damaged_file_of_labels_is_not_written_over(runbook: Any, put: Put) -> None:
    folder = put(1)
    (folder / "labels.json").write_text("{ torn")
    ran = runbook("runs", "label", "00000001", "a=b")
    assert ran.code == 2
    assert "damaged" in ran.err
    assert (folder / "labels.json").read_text() == "{ torn"


def test_what_a_newer_version_keeps_with_labels_stays(runbook: Any, put: Put) -> None:
    folder = put(1)
    kept = {"labels": [{"key": "a", "value": "b", "created": "", "author": "", "colour": "red"}], "votes": [1]}
    (folder / "labels.json").write_text(json.dumps(kept))
    assert runbook("runs", "label", "00000001", "c=d").code == 0
    body = json.loads((folder / "labels.json").read_text())
    assert body["votes"] == [1]
    assert body["labels"][0]["colour"] == "red"


def test_stats_are_those_of_the_contract(runbook: Any, put: Put) -> None:
    for number in range(1, 21):
        put(number, day=number, status="failed" if number == 20 else "completed")
    (task,) = runbook("runs", "stats", "--task", "acme/task", "--json").json["tasks"]
    assert (task["collection"], task["task"], task["total"]) == ("acme", "task", 20)
    assert {name: count for name, count in task["by_status"].items() if count} == {"completed": 19, "failed": 1}
    assert (task["success_rate"], task["avg_duration_seconds"]) == (0.95, 10.5)
    assert (task["p50_duration_seconds"], task["p95_duration_seconds"]) == (10.0, 19.0)
    assert (task["total_tokens"], task["total_cost_usd"], task["first_run"][:10]) == (2000, 10.0, "2026-03-01")
    assert "95.0%" in runbook("runs", "stats", env={"COLUMNS": "80"}).out


def test_path_and_reindex(runbook: Any, put: Put) -> None:
    folder = put(1, day=28)
    assert runbook("runs", "path", "acme/task/00000001").out == f"{folder}\n"
    assert runbook("runs", "reindex", "--json").json["runs"] == 2


def test_the_home_of_a_project_may_hold_no_link_on_the_way_to_a_run(tmp_path: Path, monkeypatch: Any) -> None:
    top = tmp_path / "trajectories"
    (top / "c" / "t" / "r").mkdir(parents=True)
    monkeypatch.delenv("RUNBOOK_HOME", raising=False)
    settings = Settings.load()._replace(home=tmp_path)
    assert settings.require_home() == tmp_path
    (top / "c" / "t" / "link").symlink_to("/etc")
    assert settings.require_home(each_run=False) == tmp_path
    with pytest.raises(Exception, match="is a link"):
        settings.require_home()


def test_a_label_and_a_set_status_are_taken_back(runbook: Any, put: Put) -> None:
    folder = put(1, labels=[{"key": "team", "value": "red", "created": "", "author": ""}])
    before = runbook("runs", "list", "--task", "task", "--json").json["runs"][0]["updated"]
    assert runbook("runs", "label", "00000001", "a=b", "--status", "archived").code == 0
    (row,) = runbook("runs", "list", "--task", "task", "--json").json["runs"]
    assert (row["outcome"], row["updated"] > before) == ("archived", True)
    wrong = runbook("runs", "label", "00000001", "--remove", "tema")
    assert (wrong.code, "Did you mean 'team'?" in wrong.err) == (2, True)
    (folder / "agent").mkdir()
    done = runbook("runs", "label", "00000001", "--remove", "team", "--remove", "a", "--status", "recorded")
    assert done.code == 0, done.err
    (row,) = runbook("runs", "list", "--task", "task", "--json").json["runs"]
    assert (row["outcome"], row["labels"]) == ("pass", {})
    write_fold(folder)
    assert json.loads((folder / "trajectory.json").read_text())["labels"] == []
    assert runbook("runs", "label", "00000001", "team=blue").code == 0
    assert listed(runbook, "--label", "team=blue") == ["1"]


def test_outcomes_are_counted_and_filtered_by_one_vocabulary(runbook: Any, put: Put) -> None:
    put(1, day=1)
    put(2, day=2, status="failed")
    put(3, day=3, status="cancelled")
    failing = put(4, day=4)
    body = json.loads((failing / "trajectory.json").read_text())
    body["steps"]["run"]["outputs"]["verdict"] = "fail"
    (failing / "trajectory.json").write_text(json.dumps(body))
    assert listed(runbook, "--outcome", "FAIL") == ["4"]
    assert listed(runbook, "--outcome", "failed") == ["4", "3", "2"]
    (task,) = runbook("runs", "stats", "--task", "acme/task", "--json").json["tasks"]
    assert task["success_rate"] == 0.333
    assert runbook("runs", "path", "@last-failed").out == f"{failing}\n"


def test_what_cost_nothing_is_0_everywhere(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--json")
    name = ran.json["trajectory_id"]
    assert ran.json["usage"]["cost_usd"] == 0
    assert runbook("runs", "show", name, "--json").json["usage"]["cost_usd"] == 0
    (row,) = runbook("runs", "list", "--json").json["runs"]
    (task,) = runbook("runs", "stats", "--json").json["tasks"]
    assert (row["cost_usd"], task["total_cost_usd"], task["unknown_cost_runs"]) == (0, 0, 0)
    assert runbook("cost", "--json").json["total"]["cost_usd"] == 0


def test_replays_and_reruns_name_the_run_that_they_repeat(runbook: Any) -> None:
    first = runbook("run", HELLO, "--sandbox", "host", "-p", "name=Ada", "--json").json["trajectory_id"]
    assert runbook("replay", first, "--sandbox", "host").code == 0
    assert runbook("rerun", first, "--sandbox", "host").code == 0
    rows = runbook("runs", "list", "--json").json["runs"]
    assert [(row["kind"], row["of"]) for row in rows] == [("rerun", first), ("replay", first), ("run", None)]
    assert {row["parameters"] for row in rows} == {"name=Ada"}
    assert f"rerun of {first}" in runbook("runs", "list", env={"COLUMNS": "200"}).out
    shown = runbook("runs", "show", "@last").out
    assert f"rerun of {first}" in shown
    assert "parameters: name=Ada" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("list", "--label", "=x"), "is not a label"),
        (("list", "--outcome", "dead"), "`--outcome running` lists them"),
        (("list", "--since", "5m"), "can mean minutes or months"),
        (("prune", "--older-than", "1m"), "30d for months"),
        (("list", "--page", "7"), "There is no page 7"),
        (("stats", "--task", "nonesuch"), "No run is like that"),
    ],
)
def test_what_can_not_be_meant_is_told(runbook: Any, put: Put, options: tuple[str, ...], said: str) -> None:
    put(1)
    ran = runbook("runs", *options)
    assert said in ran.out + ran.err


def test_a_home_that_is_not_there_is_named(runbook: Any, tmp_path: Path) -> None:
    env = {"RUNBOOK_HOME": str(tmp_path / "nonesuch")}
    for command in (("list",), ("stats",)):
        assert "there is no such folder" in runbook("runs", *command, env=env).out
    assert f"There is no folder {tmp_path / 'nonesuch'}" in runbook("runs", "show", "@last", env=env).err
