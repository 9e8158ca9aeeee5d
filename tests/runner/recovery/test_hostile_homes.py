"""A cloned folder says what it likes about earlier runs: nothing of it is believed, deleted or written through."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def clone(runbook: Any, shell_runbook: Write, tmp_path: Path) -> Path:
    """The folder in which the user types commands: it came with a runbook and a `.runbook/`."""
    folder = tmp_path / "home" / "clone"
    shutil.copytree(shell_runbook("echo made > /app/results/out.txt"), folder)
    (folder / ".runbook" / "active").mkdir(parents=True)
    (folder.parent / ".bashrc").write_text("good")
    runbook.cwd = folder
    return folder


def claim(clone: Path, name: str, **said: object) -> None:
    """As earlier versions of this program wrote it."""
    entry = {"trajectory_id": name, "folder": "nowhere", "backend": "host", "temp": "."} | said
    (clone / ".runbook" / "active" / f"{name}.json").write_text(json.dumps(entry))
    (clone / ".runbook" / "active" / f"{name}.lock").touch()


def docker(*args: str, given: str = "") -> str:
    return subprocess.run(["docker", *args], input=given, capture_output=True, text=True, check=True).stdout.strip()


def snapshot(folder: Path, *but: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
        if not any(path.is_relative_to(place) for place in but)
    }


def test_claims_of_a_clone_delete_and_write_nothing(runbook: Any, clone: Path, backend: str) -> None:
    (clone.parent / "my-thesis").mkdir()
    (clone.parent / "my-thesis" / "1.md").write_text("work")
    record = clone / ".runbook" / "trajectories" / "l" / "t" / "deadbeef"
    record.mkdir(parents=True)
    (record / "results").symlink_to("../../../../../..")
    planted = clone / "runbook-deadbeef-x" / "results"
    planted.mkdir(parents=True)
    (planted / ".bashrc").write_text("evil")
    claim(clone, "..", folder="..", temp="nowhere")
    claim(clone, "x/../../my".replace("/", "%"), trajectory_id="x/../../my")
    claim(clone, "deadbeef", folder=str(record))
    claim(clone, "0badcafe-0123456789abcdef", folder=str(clone.parent))
    before = snapshot(clone.parent, clone / ".runbook" / "trajectories")
    shutil.rmtree(clone / ".runbook" / "trajectories")
    home = {"RUNBOOK_HOME": str(clone / ".runbook")}
    for command in (("run", ".", "--sandbox", backend), ("clean",), ("clean", "--kept")):
        done = runbook(*command, env=home)
        assert done.code == 0, done.err
    after = snapshot(clone.parent, clone / ".runbook" / "trajectories")
    assert after == before


def test_an_active_folder_that_is_a_link_costs_the_other_folder_nothing(runbook: Any, clone: Path) -> None:
    other = clone.parent / "other"
    other.mkdir()
    for name in ("composer.lock", "composer.json"):
        (other / name).write_text("{}")
    shutil.rmtree(clone / ".runbook" / "active")
    (clone / ".runbook" / "active").symlink_to(other)
    assert runbook("run", ".", "--sandbox", "host").code == 0
    assert sorted(path.name for path in other.iterdir()) == ["composer.json", "composer.lock"]


@pytest.mark.parametrize(
    "link",
    [
        ".runbook",
        ".runbook/trajectories",
        ".runbook/trajectories/local",
        ".runbook/trajectories/local/test",
        ".runbook/trajectories/local/test/0badcafe",
    ],
)
def test_a_link_in_the_clones_home_is_refused_and_written_through_by_no_command(
    runbook: Any, clone: Path, link: str
) -> None:
    elsewhere = clone.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(clone / ".runbook")
    (clone / link).parent.mkdir(parents=True, exist_ok=True)
    (clone / link).symlink_to(os.path.relpath(elsewhere, (clone / link).parent))
    for command in (("run", ".", "--sandbox", "host"), ("cost",), ("attach", "0badcafe"), ("replay", "0badcafe")):
        refused = runbook(*command)
        assert refused.code == 3, command
        assert f"{clone / link} is a link, which may have come with this folder." in refused.err
        assert "set RUNBOOK_HOME to that folder" in refused.err
    assert list(elsewhere.iterdir()) == []


def test_a_link_above_in_the_clone_is_refused_too(runbook: Any, clone: Path) -> None:
    shutil.rmtree(clone / ".runbook")
    (clone / ".runbook").symlink_to("../elsewhere")
    (clone.parent / "elsewhere").mkdir()
    runbook.cwd = clone / "inner"
    runbook.cwd.mkdir()
    refused = runbook("run", "..", "--sandbox", "host")
    assert (refused.code, list((clone.parent / "elsewhere").iterdir())) == (3, [])
    assert f"{clone}/.runbook is a link, which may have come with this folder." in refused.err


@pytest.mark.parametrize(
    "above", ["the home", "everybody's", pytest.param("another's", marks=pytest.mark.needs("root"))]
)
def test_runs_are_kept_in_no_folder_above_that_others_may_have_put_there(runbook: Any, clone: Path, above: str) -> None:
    runbook.cwd = clone / "inner"
    runbook.cwd.mkdir()
    if above == "the home":
        runbook.env["HOME"] = str(clone)
    elif above == "everybody's":
        clone.chmod(0o1777)
    else:
        os.chown(clone / ".runbook", 1, 1)
    ran = runbook("run", "..", "--sandbox", "host", "--json")
    assert ran.folder.parents[3] == runbook.cwd / ".runbook"
    assert [path.name for path in (clone / ".runbook").iterdir()] == ["active"]


def test_links_in_a_home_that_the_user_has_named_are_the_users(runbook: Any, clone: Path) -> None:
    (clone.parent / "disk").mkdir()
    (clone.parent / "records").symlink_to(clone.parent / "disk")
    home = {"RUNBOOK_HOME": str(clone.parent / "records")}
    ran = runbook("run", ".", "--sandbox", "host", env=home)
    assert ran.code == 0, ran.err
    assert list(clone.parent.glob("disk/trajectories/local/test/*/trajectory.json"))


@pytest.mark.parametrize("place", ["spec.json", "events.jsonl", "trajectory.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_of_a_recording_that_is_a_link_or_a_pipe_is_not_read(
    runbook: Any, clone: Path, place: str, kind: str, tmp_path: Path
) -> None:
    ran = runbook("run", ".", "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    file = ran.folder / place
    if kind == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        os.mkfifo(file)
    if place == "trajectory.json":
        assert runbook("cost", "--json", timeout=60).json["unreadable"] == 1
    else:
        assert runbook("replay", ran.folder.name, timeout=60).code == 2


# --- a run that was killed -------------------------------------------------------------------------------------------


@pytest.fixture
def killed(runbook: Any, shell_runbook: Write, clone: Path, eventually: Any) -> Path:
    """The trajectory's folder of a run that was killed when it had made `made.txt`."""
    shutil.rmtree(clone / ".runbook")
    path = shell_runbook("echo made > /app/results/made.txt; echo started; sleep 600")
    process = runbook.start("run", path, "--sandbox", "host")

    def started() -> Path | None:
        logs = list(clone.glob(".runbook/trajectories/*/*/*/agent/stdout.log"))
        return logs[0].parent.parent if logs and "started" in logs[0].read_text() else None

    folder: Path = eventually(started)
    process.kill()
    process.communicate(timeout=60)
    return folder


def test_a_killed_run_is_finished_from_any_folder_and_only_by_who_has_its_claim(
    runbook: Any, killed: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    runbook.cwd = tmp_path / "other"
    assert runbook("clean", env={"RUNBOOK_DATA": str(tmp_path / "of-another")}).out == "There is nothing to remove.\n"
    assert runbook.left() != []
    assert f"it was interrupted, see {killed}" in runbook("clean").out
    assert (killed / "results" / "made.txt").read_text() == "made\n"
    assert runbook.left() == []


@pytest.mark.parametrize("replaced", ["trajectory", "parent", "results"])
def test_what_has_taken_the_place_of_its_record_gets_nothing(
    runbook: Any, killed: Path, tmp_path: Path, replaced: str
) -> None:
    treasure = tmp_path / "treasure"
    if replaced == "results":
        treasure.mkdir()
        (killed / "results").rmdir()
        (killed / "results").symlink_to(treasure)
    elif replaced == "parent":
        killed.parent.rename(tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", treasure)
        killed.parent.symlink_to(treasure)
    else:
        killed.rename(tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", killed)
        treasure = killed
    before = snapshot(treasure)
    held = runbook("clean", env={"RUNBOOK_HOME": str(tmp_path / "records")})
    assert (held.code, snapshot(treasure)) == (3, before)
    assert f"The results of run {killed.name} are still in its host sandbox" in held.err
    assert runbook("clean", "--discard", env={"RUNBOOK_HOME": str(tmp_path / "records")}).code == 0
    assert snapshot(treasure) == before
    assert runbook.left() == []


@pytest.mark.needs("docker")
def test_labels_that_a_container_has_from_an_image_or_a_stranger_are_not_believed(
    runbook: Any, killed: Path, tmp_path: Path
) -> None:
    name = killed.name
    labels = {
        "runbook.trajectory": name,
        "runbook.claim": f"{name}-0123456789abcdef",
        "runbook.folder": str(tmp_path),
        "runbook.lock": str(tmp_path / "lock"),
        "runbook.temp": str(tmp_path),
    }
    changes = [f"--change=LABEL {key}={value}" for key, value in labels.items()]
    image = docker("import", *changes, "-", given="\0" * 1024)  # an empty archive
    made = docker("create", f"--name=runbook-{name}-0123456789abcdef-012345", image, "sh")
    try:
        assert f"of run {name}" in runbook("clean", "--kept").out
        assert docker("inspect", '--format={{index .Config.Labels "runbook.trajectory"}}', made) == name
    finally:
        docker("rm", "-f", made)
        docker("rmi", image)


# --- the user's data folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "runs", "work"])
def test_a_data_folder_that_others_may_write_to_is_refused(runbook: Any, clone: Path, place: str) -> None:
    assert runbook("run", ".", "--sandbox", "host").code == 0
    (runbook.data / place).chmod(0o777)
    refused = runbook("run", ".", "--sandbox", "host")
    assert refused.code == 3
    assert f"`chmod go-w {runbook.data / place}`" in refused.err.replace("/`", "`")


def test_a_user_without_a_home_has_no_data_folder_in_the_clone(runbook: Any, clone: Path) -> None:
    del runbook.env["RUNBOOK_DATA"]
    for home in ("~", "relative"):
        runbook.env["HOME"] = home
        refused = runbook("run", ".", "--sandbox", "host")
        assert refused.code == 3
        assert "Set RUNBOOK_DATA to a folder of yours" in refused.err
    assert sorted(path.name for path in clone.iterdir()) == [".runbook", "RUNBOOK.md"]


def test_records_are_private_whatever_the_umask(runbook: Any, clone: Path, backend: str) -> None:
    runbook.under = ("sh", "-c", 'umask 0; exec "$@"', "sh")
    ran = runbook("run", ".", "--sandbox", backend, "--json", "--out", clone / "out")
    assert ran.code == 0, ran.err
    parents = [ran.folder.parents[n] for n in range(3)]
    modes = {path: path.stat().st_mode & 0o777 for path in (*parents, ran.folder, *ran.folder.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert (ran.folder / "events.jsonl") in modes
    assert (clone / "out" / "out.txt").stat().st_mode & 0o777 == 0o666
    assert {path.stat().st_mode & 0o777 for path in runbook.data.rglob("*") if path.is_dir()} <= {0o700}


# --- --out -----------------------------------------------------------------------------------------------------------


def test_copied_results_replace_links_and_follow_none(runbook: Any, clone: Path, shell_runbook: Write) -> None:
    path = shell_runbook("echo new > /app/results/out.txt; mkdir /app/results/d; echo deep > /app/results/d/x")
    (clone / "out").mkdir()
    (clone / "out" / "out.txt").symlink_to("../../.bashrc")
    ran = runbook("run", path, "--sandbox", "host", "--out", "out")
    assert ran.code == 0, ran.err
    assert (clone.parent / ".bashrc").read_text() == "good"
    assert not (clone / "out" / "out.txt").is_symlink()
    assert (clone / "out" / "out.txt").read_text() == "new\n"
    assert (clone / "out" / "d" / "x").read_text() == "deep\n"
    assert runbook("run", path, "--sandbox", "host", "--out", "out").code == 0, "over what is there"


def test_a_link_where_a_folder_of_results_has_to_be_is_told_and_not_followed(
    runbook: Any, clone: Path, shell_runbook: Write
) -> None:
    path = shell_runbook("echo x > /app/results/out.txt; mkdir /app/results/d; echo evil > /app/results/d/keys")
    (clone.parent / ".ssh").mkdir()
    (clone / "out").mkdir()
    (clone / "out" / "d").symlink_to("../../.ssh")
    ran = runbook("run", path, "--sandbox", "host", "--out", "out")
    assert ran.code == 2
    assert "out/d" in ran.err
    assert "it is a link or a file, not a folder" in ran.err
    assert list((clone.parent / ".ssh").iterdir()) == []


@pytest.mark.parametrize("out", ["out", "out/sub", "folder/out/new"])
@pytest.mark.parametrize("archive", [False, True])
def test_results_are_not_copied_out_of_the_clone_by_its_links(
    runbook: Any, clone: Path, out: str, archive: bool
) -> None:
    if archive:
        shutil.rmtree(clone / ".runbook")
    disk = clone.parent / "disk"
    (disk / "sub").mkdir(parents=True)
    (clone / "folder").mkdir()
    for link in (clone / "out", clone / "folder" / "out"):
        link.symlink_to(disk)
    ran = runbook("run", ".", "--sandbox", "host", "--out", out)
    assert ran.code == 2
    assert "is a link that leads out of" in ran.err
    assert f"name the folder itself: {disk}" in ran.err
    assert list(disk.iterdir()) == [disk / "sub"]
    assert runbook("run", ".", "--sandbox", "host", "--out", disk).code == 0
    assert (disk / "out.txt").read_text() == "made\n"
