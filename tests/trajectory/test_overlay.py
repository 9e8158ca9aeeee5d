"""Labels and statuses that are set later: a death, a rival writer or a new fold loses none of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Event, Log, Recorded, RunFinished, RunStarted
from runbook_runner.trajectory.fold import MOST_NOTES
from runbook_runner.trajectory.overlay import read_overlay, read_trajectory, set_labels, set_status
from runbook_runner.trajectory.store import repair, take_back_status, write_fold


def write_log(folder: Path, *between: Event) -> None:
    started = RunStarted(
        trajectory_id=folder.name,
        collection="acme",
        task="t",
        author="me",
        spec_digest="sha256:0",
        init_params={"agent": "shell"},
        step_config={},
        labels={"team": "red"},
        engine="runbook-runner/0",
    )
    events = (started, *between, RunFinished(status="completed", seconds=1))
    lines = [
        Recorded(seq=seq, ts="2026-03-01T10:00:00.000000Z", event=event).line() + "\n"
        for seq, event in enumerate(events, 1)
    ]
    (folder / "events.jsonl").write_text("".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "trajectories" / "acme" / "t" / "aaaa0001"
    (made / "agent").mkdir(parents=True)
    write_log(made)
    write_fold(made)
    return made


def labels(folder: Path) -> dict[str, str]:
    """As trajectory.json itself has them."""
    body = json.loads((folder / "trajectory.json").read_text())
    return {label["key"]: label["value"] for label in body["labels"]}


def test_a_new_fold_keeps_what_was_set(folder: Path) -> None:
    set_labels(folder, {"team": "blue", "quality": "high"}, "eve")
    set_status(folder, "archived")
    (folder / "trajectory.json").unlink()
    assert write_fold(folder).status == "completed", "that is what the log says"
    assert labels(folder) == {"team": "blue", "quality": "high"}
    assert json.loads((folder / "trajectory.json").read_text())["status"] == "archived"
    before = (folder / "trajectory.json").read_bytes()
    write_fold(folder)
    assert (folder / "trajectory.json").read_bytes() == before


_DIES = """
import os, signal, sys
from pathlib import Path
from runbook_runner.trajectory.overlay import set_labels

folder, left = Path(sys.argv[1]), int(sys.argv[2])

def die(event, arguments):
    global left
    if event == "open" or event.startswith("os.") and event != "os.kill":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
set_labels(folder, {"quality": "high"}, "eve")
"""


def test_a_writer_that_is_killed_at_any_step_leaves_whole_files(folder: Path) -> None:
    """It kills itself before the first, second, … of its calls to the file system."""
    set_labels(folder, {"old": "1"}, "me")
    kept = []
    for steps in range(100):
        ran = subprocess.run([sys.executable, "-c", _DIES, str(folder), str(steps)], capture_output=True, timeout=60)
        set_by_now = {label["key"] for label in read_trajectory(folder)["labels"]}
        assert {"team", "old"} <= set_by_now
        assert {"team", "old"} <= labels(folder).keys()
        kept.append("quality" in set_by_now)
        if ran.returncode == 0:
            break
        assert ran.returncode == -9, ran.stderr.decode()
    assert kept == sorted(kept)
    assert kept.count(False) > 2
    assert kept.count(True) > 2, "it was killed too after the labels were there, before trajectory.json had them"
    repair(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["agent", "events.jsonl", "labels.json", "trajectory.json"]


_LABELS = """
import sys
from pathlib import Path
from runbook_runner.trajectory.overlay import set_labels
from runbook_runner.trajectory.store import write_fold
for number in range(25):
    set_labels(Path(sys.argv[1]), {f"{sys.argv[2]}-{number}": "v"}, "me")
    if number % 5 == 0:
        write_fold(Path(sys.argv[1]))
"""


def test_processes_label_and_fold_one_run_and_nothing_is_lost(folder: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _LABELS, str(folder), str(number)], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for writer in writers:
        _, err = writer.communicate(timeout=120)
        assert writer.returncode == 0, err.decode()
    expected = {f"{writer}-{number}" for writer in range(4) for number in range(25)}
    assert {label["key"] for label in read_overlay(folder).labels} == expected
    assert labels(folder).keys() == {"team", *expected}


_ASKS = """
import json, sys
from pathlib import Path
from runbook_runner.core.errors import RecordingError
from runbook_runner.trajectory.overlay import read_trajectory, set_labels
folder = Path(sys.argv[1])
try:
    set_labels(folder, {"new": "1"}, "me")
except RecordingError as error:
    print(json.dumps([str(error), [label["key"] for label in read_trajectory(folder)["labels"]]]))
"""


@pytest.mark.needs("setpriv")
def test_a_folder_that_is_read_only_is_read_and_not_labelled(folder: Path) -> None:
    set_labels(folder, {"old": "1"}, "me")
    folder.chmod(0o500)
    root = os.geteuid() == 0  # for whom permissions do not hold
    bound = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if root else []
    ran = subprocess.run([*bound, sys.executable, "-c", _ASKS, str(folder)], capture_output=True, text=True, timeout=60)
    folder.chmod(0o700)
    assert ran.returncode == 0, ran.stderr
    said, keys = json.loads(ran.stdout)
    assert "can't be labelled: Permission denied" in said
    assert keys == ["team", "old"]
    assert sorted(path.name for path in folder.iterdir()) == ["agent", "events.jsonl", "labels.json", "trajectory.json"]


def test_of_very_many_events_trajectory_json_has_the_first_and_the_last(folder: Path) -> None:
    write_log(folder, *(Log(message=f"line {number}") for number in range(MOST_NOTES + 500)))
    write_fold(folder)
    events = json.loads((folder / "trajectory.json").read_text())["events"]
    assert len(events) == MOST_NOTES + 1
    assert events[0]["message"] == "line 0"
    told = events[MOST_NOTES // 2]["message"]
    assert told == "501 events left out here; events.jsonl has all of them"
    assert events[-2]["message"] == f"line {MOST_NOTES + 499}"


# --- a stranger's labels ---------------------------------------------------------------------------------------------


def test_a_fold_writes_through_no_link(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "agent", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "atif.json").write_text("precious")
    (folder / "agent").symlink_to(tmp_path / "elsewhere")
    set_status(folder, "archived")
    for write in (take_back_status, write_fold):
        with pytest.raises(InputError, match=r"There is a link in this recording\."):
            write(folder)
    assert (tmp_path / "elsewhere" / "atif.json").read_text() == "precious"
    assert read_trajectory(folder)["status"] == "archived", "nothing was half done"


@pytest.mark.parametrize("many", ["labels", "removed"])
def test_more_labels_than_a_run_can_have_are_not_read(folder: Path, many: str) -> None:
    more = {"labels": [{"key": f"k{number}"} for number in range(1001)], "removed": list(map(str, range(1001)))}
    few = {name: values[:-1] for name, values in more.items()}
    (folder / "labels.json").write_text(json.dumps(few))
    assert len(read_overlay(folder).labels) == 1000
    (folder / "labels.json").write_text(json.dumps({**few, many: more[many]}))
    assert read_trajectory(folder)["labels"][0]["key"] == "team"
    with pytest.raises(InputError, match=r"The file of labels is damaged\."):
        set_status(folder, "archived")


def test_labels_that_could_not_be_read_again_are_not_written(folder: Path) -> None:
    set_labels(folder, {"kept": "yes"}, "eve")
    with pytest.raises(InputError, match=r"have 4 MB at most"):
        set_labels(folder, {f"k{number}": "\U0001fadf" * 10_000 for number in range(40)}, "eve")
    assert labels(folder)["kept"] == "yes"


def test_half_a_surrogate_pair_in_labels_does_not_stop_a_fold(folder: Path) -> None:
    half = {"labels": [{"key": "a\ud800", "value": "\udc00", "more": "\ud800"}], "later": ["\ud800"]}
    (folder / "labels.json").write_text(json.dumps(half))
    write_fold(folder)
    assert labels(folder) == {"team": "red", "a\ufffd": "\ufffd"}
    set_labels(folder, {"quality": "high"}, "eve")
    assert labels(folder) == {"team": "red", "a\ufffd": "\ufffd", "quality": "high"}
