"""What was recorded elsewhere becomes a usual trajectory folder, whole or not at all."""

import hashlib
import json
import stat
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.clock import moment
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, Artifact, Log, RunFinished, RunStarted
from runbook_runner.core.redaction import Redactor
from runbook_runner.trajectory.imports.folder import record_imported
from runbook_runner.trajectory.imports.hosted import place_of, read_hosted, stored_files, stored_places
from runbook_runner.trajectory.imports.imported import Timed
from runbook_runner.trajectory.index.names import find_folder
from runbook_runner.trajectory.store import read_events

BEGUN, SAID, ENDED = (f"2026-07-01T09:00:0{n}.000000Z" for n in range(3))
KEY = "sk-ant-api03-" + "a1B2c3D4e5F6" * 8
HOSTED = {
    "name": "acme/triage",
    "trajectory_id": "bb2bb71e",
    "status": "completed",
    "created": BEGUN,
    "updated": "2026-07-01T09:00:16.014Z",
    "author": "api-key:ci",
    "init_params": {"agent": "claude-code", "model": "m", "instruction": "Do it."},
    "labels": [{"key": "quality", "value": "high", "created": ENDED, "author": "eve"}, {"key": 3}, "?"],
    "events": [{"ts": SAID, "level": "error", "message": "slow", "step": "run"}, None],
    "steps": {
        "run": {
            "activity": "runbook",
            "created": BEGUN,
            "ended": ENDED,
            "status": "completed",
            "outputs": {
                "success": True,
                "text": "Done.",
                "results_files": [
                    {"path": "acme/triage/0000/bb2bb71e.run.0000.app--results--out.md"},
                    {"path": "acme/triage/0000/bb2bb71e.run.0001.app--results--a--chart.png"},
                ],
                "files": ["acme/triage/0000/bb2bb71e.run.0002.logs--agent--session.jsonl"],
                "usage": {"prompt_tokens": 4, "completion_tokens": 158, "cost_usd": 0.03, "api_calls": 1},
                "exit_code": 0,
            },
        }
    },
}


def started(**changed):
    known = {"trajectory_id": "x", "collection": "c", "task": "t", "author": "a", "spec_digest": "", "engine": "e"}
    return RunStarted(**{**known, "init_params": {}, "step_config": {}, "origin": "a test", **changed})


def events(text="Hello."):
    yield Timed(BEGUN, started())
    yield Timed(SAID, AgentMessage(text=text))
    yield Timed(ENDED, RunFinished(status="completed", seconds=2.0))


def record(home, found=None, **options):
    found = events() if found is None else found
    return record_imported(home, found, **{"data": home / "data", "collection": "acme", "task": "t", **options})


def left(home):
    return [path for path in home.rglob("*") if path.name != ".gitignore" and path.is_file()]


def test_the_folder_has_the_times_of_the_original_and_is_found_by_its_id(tmp_path):
    folder = record(tmp_path, trajectory_id="bb2bb71e")
    assert find_folder(tmp_path, "bb2b") == folder
    assert [recorded.ts for recorded in read_events(folder)] == [BEGUN, SAID, ENDED]
    trajectory = json.loads((folder / "trajectory.json").read_text())
    assert trajectory["created"] == BEGUN
    assert (trajectory["name"], trajectory["trajectory_id"]) == ("acme/t", "bb2bb71e")
    assert trajectory["attributes"]["params"]["origin"] == "a test"


def test_nobody_else_may_read_it(tmp_path):
    folder = record(tmp_path, files={"results/a/b.txt": b"b", "imported/run.json": b"{}"})
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes == {0o700, 0o600}


def test_files_become_artifacts_and_secrets_are_removed_from_both(tmp_path):
    redactor = Redactor({"TOKEN": "hunter2hunter2"})
    files = {"results/out.md": b"hunter2hunter2 " + KEY.encode(), "imported/run.json": KEY.encode()}
    folder = record(tmp_path, events(f"use {KEY} and hunter2hunter2"), files=files, redactor=redactor)
    assert (folder / "results/out.md").read_text() == f"***REDACTED:TOKEN*** {KEY}", "a result keeps its bytes"
    assert KEY not in (folder / "imported/run.json").read_text()
    assert KEY not in (folder / "events.jsonl").read_text()
    assert "hunter2" not in (folder / "events.jsonl").read_text()
    found = [recorded.event for recorded in read_events(folder)]
    artifact = next(event for event in found if isinstance(event, Artifact))
    assert artifact.sha256 == hashlib.sha256((folder / "results/out.md").read_bytes()).hexdigest()
    assert isinstance(found[-1], RunFinished)


def test_an_id_that_is_in_use_is_kept_unless_it_is_to_be_replaced(tmp_path):
    first = record(tmp_path, trajectory_id="bb2bb71e")
    with pytest.raises(InputError, match=r"bb2bb71e already.*\n.*--replace"):
        record(tmp_path, events("Other."), trajectory_id="bb2bb71e")
    with pytest.raises(InputError, match="bb2bb71e already"):
        record(tmp_path, task="other", trajectory_id="bb2bb71e", replace=True)
    assert "Hello." in (first / "events.jsonl").read_text()
    record(tmp_path, events("Other."), trajectory_id="bb2bb71e", replace=True)
    assert "Other." in (first / "events.jsonl").read_text()
    assert [path.name for path in first.parent.iterdir()] == ["bb2bb71e"]


def broken():
    yield from events()
    raise InputError("line 4 is torn")


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (broken, {}, "line 4 is torn"),
        (lambda: iter(()), {}, "no events"),
        (lambda: [Timed(BEGUN, AgentMessage(text="x"))], {}, "does not begin"),
        (events, {"task": "../../x"}, "The task '../../x' can't be a name"),
        (events, {"trajectory_id": "../x"}, "The id"),
        (events, {"files": {"../x": b""}}, "can't be '../x'"),
        (events, {"files": {"/x": b""}}, "can't be '/x'"),
        (events, {"files": {"agent/a\n": b""}}, "can't be"),
        (events, {"files": {"events.jsonl": b""}}, "writes events.jsonl itself"),
        (events, {"files": {".git/config": b""}}, "can't be"),
        (events, {"files": {"results/" + "a" * 300: b""}}, "can't be"),
        (events, {"files": {"results/a": b"", "results/a/b": b""}}, "can't both be"),
    ],
)
def test_what_can_not_be_imported_leaves_nothing(tmp_path, found, options, message):
    with pytest.raises(InputError) as caught:
        record(tmp_path, found(), **options)
    assert message in str(caught.value)
    assert left(tmp_path) == []
    assert list(tmp_path.rglob("*.part")) == []


def test_no_folder_becomes_a_repository_whose_programs_git_would_start(tmp_path):
    commit = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    repository = {"config": b"[core]", "HEAD": b"ref: refs/heads/x", "objects/x": b"x", "labels.json/x": b"", "x": b""}
    inner = [
        "results/.git/config",
        "results/a/.G\u200bIT/config",
        "agent/b/.hg/hgrc",
        "imported/.jj",
        "results/.git/HEAD",
    ]
    heads = {
        "results/HEAD": b"ref: x",
        "model/a/head": commit.encode(),
        "results/c/HEAD": b"reference",
        "inputs/y": b"y",
    }
    notes = []
    files = {**repository, **dict.fromkeys(inner, b"x"), **heads, "inputs/y": b"y"}
    folder = record(tmp_path, files=files, note=notes.append)
    there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(there) == ["agent/atif.json", "events.jsonl", "inputs/y", "results/c/HEAD", "trajectory.json"]
    logged = [recorded.event for recorded in read_events(folder)]
    assert [event.message for event in logged if isinstance(event, Log)] == notes
    assert isinstance(logged[-1], RunFinished)
    said = "\n".join(notes)
    assert "Not imported: results/.git: its configuration could name programs of this machine" in said
    assert "Not imported: results/HEAD: with it the folder could be a repository" in said
    assert "Not imported: objects: a run of this version has nothing of this name." in said
    assert len(notes) == 5 + 4 + 2
    many = {f"results/{n}/.git": b"" for n in range(30)}
    record(tmp_path, files=many, note=notes.append)
    assert notes[-1] == "10 more were not imported."


def test_a_link_is_not_followed_when_a_file_is_laid_beside(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="link, not a regular file"):
        record(tmp_path / "home", files={"imported/x": tmp_path / "link"})
    assert left(tmp_path / "home") == []


# --- a hosted trajectory ---------------------------------------------------------------------------------------------


def test_a_hosted_trajectory_becomes_events(tmp_path):
    found = read_hosted(HOSTED, "run.json")
    assert (found.collection, found.task, found.trajectory_id) == ("acme", "triage", "bb2bb71e")
    folder = record(tmp_path, found.events, task="triage", trajectory_id="bb2bb71e")
    trajectory = json.loads((folder / "trajectory.json").read_text())
    outputs = trajectory["steps"]["run"]["outputs"]
    assert trajectory["status"] == "completed"
    assert [(label["key"], label["value"]) for label in trajectory["labels"]] == [("quality", "high")]
    assert (outputs["text"], outputs["success"], outputs["verdict"]) == ("Done.", True, "pass")
    assert outputs["usage"]["completion_tokens"] == 158
    assert outputs["usage"]["cost_usd"] == 0.03
    assert any(note["message"] == "slow" and note["level"] == "error" for note in trajectory["events"])


def test_stored_files_have_their_place_in_the_folder():
    assert stored_files(HOSTED) == {
        "acme/triage/0000/bb2bb71e.run.0000.app--results--out.md": "results/out.md",
        "acme/triage/0000/bb2bb71e.run.0001.app--results--a--chart.png": "results/a/chart.png",
        "acme/triage/0000/bb2bb71e.run.0002.logs--agent--session.jsonl": "agent/logs--agent--session.jsonl",
    }
    assert place_of("a/b/0000/x.run.0000.app--results--..--x") == "results/_/x"
    twice = {"steps": {"run": {"outputs": {"files": ["a/x.run.0000.app--results--a", "a/x.run.0001.app--results--a"]}}}}
    assert list(stored_files(twice).values()) == ["results/a", "results/a-2"]
    names = ["a-2.md", "a.md", "a.md", "a.md"]
    keys = [f"a/{n}/x.run.0000.app--results--{name}" for n, name in enumerate(names)]
    assert list(stored_places(keys).values()) == [f"results/{n}" for n in ("a-2.md", "a.md", "a-3.md", "a-4.md")]


@pytest.mark.timeout(60)
def test_many_files_of_one_name_take_no_quadratic_time():
    many = 60_000
    assert len(set(stored_places(f"a/{n}/x.run.0000.app--results--a.md" for n in range(many)).values())) == many


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just(BEGUN),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def wild(value):
    """The same JSON, any part of which may be anything."""
    if isinstance(value, dict):
        return json_values | st.fixed_dictionaries({}, optional={key: wild(item) for key, item in value.items()})
    if isinstance(value, list):
        return json_values | st.lists(st.one_of(*map(wild, value)) if value else json_values, max_size=3)
    return st.just(value) | json_values


@given(body=wild(HOSTED))
def test_no_hosted_trajectory_is_more_than_bad_input(tmp_path_factory, body):
    home = tmp_path_factory.mktemp("home")
    with suppress(InputError):
        found = read_hosted(body, "run.json")
        stored_files(body)
        record(home, found.events)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-07-01T09:00:00Z", BEGUN),
        ("2026-07-01T11:00:00+02:00", BEGUN),
        ("2026-07-01T09:00:00", BEGUN),
        (1782896400, BEGUN),
        (1782896400000, BEGUN),
        ("yesterday", None),
        (float("nan"), None),
        (1e300, None),
        (True, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_times_of_others(value, expected):
    assert moment(value) == expected
