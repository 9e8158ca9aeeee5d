"""`runbook clean`: what dead runs have left goes, what lives or was kept stays, and it says so."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]

pytestmark = [pytest.mark.needs("linux", "root"), pytest.mark.xdist_group("docker-live")]


@pytest.fixture(autouse=True)
def temporary(runbook: Any, tmp_path: Path) -> Path:
    """No other test's folders are looked at, and on a host of another name no other test's containers: nor does another
    test's start clean up what is to be looked at here."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    runbook.env["TMPDIR"] = str(folder)
    name = f"clean-{tmp_path.name[-20:]}-{os.getpid()}".replace("_", "-")
    runbook.under = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name)
    return folder


def start_work(runbook: Any, path: Path, backend: str) -> tuple[subprocess.Popen[str], Path]:
    """A run whose agent works without end; its trajectory's folder."""
    process = runbook.start("run", path, "--sandbox", backend)
    home = runbook.cwd / ".runbook"
    known = set(home.glob("trajectories/*/*/*"))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for log in home.glob("trajectories/*/*/*/agent/stdout.log"):
            if log.parent.parent not in known and "started" in log.read_text():
                return process, log.parent.parent
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def of_run(cleaned: Any, trajectory: Path) -> list[dict[str, Any]]:
    return [run for run in cleaned.json["runs"] if run["trajectory_id"] == trajectory.name]


def containers(trajectory: Path) -> str:
    label = f"label=runbook.trajectory={trajectory.name}"
    return subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True).stdout


def test_dead_run_is_shown_then_removed_then_gone(
    runbook: Any, shell_runbook: Write, backend: str, temporary: Path
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    process, trajectory = start_work(runbook, path, backend)
    process.kill()
    process.communicate()
    shown = runbook("clean", "--dry-run", "--json")
    assert (shown.code, shown.json["dry_run"]) == (0, True)
    (run,) = of_run(shown, trajectory)
    assert (run["path"], run["interrupted"], run["kept"]) == (str(trajectory), True, False)
    assert len(run["containers"]) + len(run["folders"]) == 1
    assert not (trajectory / "trajectory.json").exists()
    assert of_run(runbook("clean", "--dry-run", "--json"), trajectory) == [run], "looking changes nothing"
    done = runbook("clean")
    assert done.code == 0
    what = f"container {run['containers'][0][:12]}" if run["containers"] else f"folder {run['folders'][0]}"
    assert f"removed {what} of run {trajectory.name}" in done.out
    assert f"it was interrupted, see {trajectory}" in done.out
    assert (trajectory / "results" / "out.txt").read_text() == "made\n"
    # The first run of all builds the image, and the locks of builds stay: they are of no run.
    assert [path for path in temporary.iterdir() if path.name != f"runbook-runner-{os.getuid()}"] == []
    assert backend != "docker" or containers(trajectory) == ""
    assert of_run(runbook("clean", "--json"), trajectory) == []


def test_living_run_is_not_touched(runbook: Any, shell_runbook: Write, backend: str) -> None:
    path = shell_runbook("echo started; sleep 3; echo made > /app/results/out.txt")
    process, trajectory = start_work(runbook, path, backend)
    assert of_run(runbook("clean", "--kept", "--json"), trajectory) == []
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_kept_sandbox_stays_until_that_is_asked_for(runbook: Any, shell_runbook: Write, backend: str) -> None:
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", backend, "--keep", "--json")
    assert ran.code == 0, ran.err
    assert of_run(runbook("clean", "--json"), ran.folder) == []
    (run,) = of_run(runbook("clean", "--kept", "--json"), ran.folder)
    assert (run["kept"], run["interrupted"]) == (True, False)
    assert backend != "docker" or containers(ran.folder) == ""
    assert all(not Path(folder).exists() for folder in run["folders"])


@pytest.mark.parametrize("sandbox", ["host", pytest.param("bubblewrap", marks=pytest.mark.needs("bubblewrap"))])
def test_folder_of_a_run_whose_records_were_thrown_away_is_found(
    runbook: Any, shell_runbook: Write, sandbox: str, temporary: Path
) -> None:
    process, _ = start_work(runbook, shell_runbook("echo started; sleep 600"), sandbox)
    process.kill()
    process.communicate()
    shutil.rmtree(runbook.cwd / ".runbook")
    assert len(list(temporary.iterdir())) == 1
    assert "removed folder" in runbook("clean").out
    assert list(temporary.iterdir()) == []


def test_nothing_to_remove_and_no_engine_are_said(runbook: Any) -> None:
    done = runbook("clean", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert (done.code, done.out) == (0, "There is nothing to remove.\n")
    assert "Containers are not looked at: No Docker engine answers at unix:///nowhere.sock" in done.err
