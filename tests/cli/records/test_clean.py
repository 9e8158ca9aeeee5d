"""`runbook clean`: what dead runs have left goes, what lives or was kept stays, and it says so."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]
Start = Callable[..., tuple[subprocess.Popen[str], Path]]

pytestmark = [pytest.mark.needs("linux", "root")]


@pytest.fixture
def work(runbook: Any) -> Path:
    """Where sandboxes have their folders."""
    return Path(runbook.data, "work")


@pytest.fixture
def start_work(runbook: Any, eventually: Any) -> Start:
    """Starts a run and waits until its agent has printed `started`; returns its process and its trajectory folder."""

    def start(path: Path, backend: str, *more: str) -> tuple[subprocess.Popen[str], Path]:
        process = runbook.start("run", path, "--sandbox", backend, *more)
        (folder,) = eventually(lambda: working(runbook.cwd / ".runbook"))
        return process, folder

    return start


def working(home: Path) -> list[Path]:
    """The trajectory folders whose agent has printed `started`."""
    logs = home.glob("trajectories/*/*/*/agent/stdout.log")
    return [log.parent.parent for log in logs if "started" in log.read_text()]


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


UNTIL_TOLD = "echo started; until [ -e /app/work/go ]; do sleep 0.1; done; echo made > /app/results/out.txt"


def tell_to_end(runbook: Any, trajectory: Path, **more: Any) -> None:
    done = runbook("attach", trajectory.name, "--", "sh", "-c", "touch $RESULTS_DIR/../work/go", **more)
    assert done.code == 0, done.err


def of_run(cleaned: Any, trajectory: Path) -> list[dict[str, Any]]:
    return [run for run in cleaned.json["runs"] if run["trajectory_id"] == trajectory.name]


def containers(trajectory: Path) -> str:
    label = f"label=runbook.trajectory={trajectory.name}"
    return subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True).stdout


def test_dead_run_is_shown_then_removed_then_gone(
    runbook: Any, shell_runbook: Write, backend: str, work: Path, start_work: Start
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    process, trajectory = start_work(path, backend)
    kill(process)
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
    assert runbook.left() == []
    assert backend != "docker" or containers(trajectory) == ""
    assert of_run(runbook("clean", "--json"), trajectory) == []


@pytest.mark.parametrize("line", [0, 2])
def test_dead_run_whose_log_is_damaged_is_collected_and_told(
    runbook: Any, shell_runbook: Write, start_work: Start, line: int
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    process, trajectory = start_work(path, "host")
    kill(process)
    log = trajectory / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:line], lines[line][:20] + "\n", *lines[line + 1 :]]))
    done = runbook("clean")
    assert done.code == 0
    assert (trajectory / "results" / "out.txt").read_text() == "made\n"
    told = done.err if line == 0 else (trajectory / "trajectory.json").read_text()
    assert ("The line is damaged or gone" if line == 0 else "damaged before this") in told
    assert runbook.left() == []


def test_living_run_is_not_touched(runbook: Any, shell_runbook: Write, backend: str, start_work: Start) -> None:
    process, trajectory = start_work(shell_runbook(UNTIL_TOLD), backend)
    assert of_run(runbook("clean", "--kept", "--json"), trajectory) == []
    tell_to_end(runbook, trajectory)
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


def test_sandbox_of_a_run_whose_records_were_thrown_away_goes(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start
) -> None:
    process, trajectory = start_work(shell_runbook("echo started; sleep 600"), backend)
    kill(process)
    shutil.rmtree(runbook.cwd / ".runbook")
    done = runbook("clean")
    assert done.out.startswith("removed container" if backend == "docker" else "removed folder"), done
    assert backend != "docker" or containers(trajectory) == ""
    assert runbook.left() == []
    assert not (runbook.cwd / ".runbook").exists()


def test_nothing_to_remove_and_no_engine_are_said(runbook: Any) -> None:
    done = runbook("clean", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert (done.code, done.out) == (0, "There is nothing to remove.\n")
    assert "Containers are not looked at: No Docker engine answers at unix:///nowhere.sock" in done.err


def test_killed_run_that_was_to_be_kept_comes_to_its_end_and_keeps_its_sandbox(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    process, trajectory = start_work(path, backend, "--keep")
    kill(process)
    (run,) = of_run(runbook("clean", "--json"), trajectory)
    assert (run["kept"], run["interrupted"], run["containers"], run["folders"]) == (True, True, [], [])
    assert json.loads((trajectory / "trajectory.json").read_text())["error"] == "interrupted"
    assert (trajectory / "results/out.txt").read_text() == "made\n"
    (run,) = of_run(runbook("clean", "--kept", "--json"), trajectory)
    assert (run["interrupted"], len(run["containers"]) + len(run["folders"])) == (False, 1)
    assert backend != "docker" or containers(trajectory) == ""


def test_what_can_not_be_removed_is_told_and_in_no_runs_way(
    runbook: Any, shell_runbook: Write, work: Path, start_work: Start
) -> None:
    process, trajectory = start_work(shell_runbook("echo started; sleep 600"), "host")
    (folder,) = work.glob(f"runbook-{trajectory.name}-*")
    kill(process)
    subprocess.run(["mount", "-t", "tmpfs", "none", folder / "work"], check=True)
    try:
        cleaned = runbook("clean")
        assert cleaned.code == 3
        assert f"Can't remove the temporary folder {folder}.removed" in cleaned.err
        ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host")
        assert ran.code == 0, ran.err
        assert f"warning: not all of run {trajectory.name} could be removed" in ran.err
    finally:
        subprocess.run(["umount", *work.glob("*/work")], check=True)
    assert runbook("clean").code == 0
    assert runbook.left() == []


@pytest.mark.needs("docker")
def test_live_run_with_a_home_whose_path_is_no_text_is_left_alone(
    runbook: Any, shell_runbook: Write, eventually: Any
) -> None:
    home = Path(os.fsdecode(os.fsencode(runbook.cwd) + b"/h\xff"))
    of_home = {"RUNBOOK_HOME": str(home)}
    process = runbook.start("run", shell_runbook(UNTIL_TOLD), "--sandbox", "docker", env=of_home)
    (trajectory,) = eventually(lambda: working(home))
    assert runbook("clean").out == "There is nothing to remove.\n"
    assert (
        runbook("clean", "--kept", env={"RUNBOOK_DATA": str(runbook.cwd / "d")}).out == "There is nothing to remove.\n"
    )
    tell_to_end(runbook, trajectory, env=of_home)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


@pytest.mark.needs("docker")
def test_results_in_a_container_wait_for_the_engine_to_answer_again(
    runbook: Any, shell_runbook: Write, start_work: Start
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    process, trajectory = start_work(path, "docker")
    kill(process)
    short = shell_runbook("echo x > /app/results/out.txt")
    ran = runbook("run", short, "--sandbox", "host", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert ran.code == 0
    assert f"not all of run {trajectory.name} could be removed: Its Docker engine does not answer." in ran.err
    assert not (trajectory / "trajectory.json").exists()
    assert runbook("run", short, "--sandbox", "host").code == 0
    assert (trajectory / "results/out.txt").read_text() == "made\n"
    assert containers(trajectory) == ""


@pytest.mark.parametrize("code", ["head -c 3000000 /dev/zero > /app/results/out.txt", "seq 300000; sleep 2"])
def test_full_disk_takes_no_results_they_wait_for_room(
    runbook: Any, shell_runbook: Write, backend: str, tmp_path: Path, code: str
) -> None:
    runbook.env["RUNBOOK_HOME"] = str(home := tmp_path / "small")
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "none", home], check=True)
    try:
        ran = runbook("run", shell_runbook(f"echo made > /app/results/made.txt; {code}"), "--sandbox", backend)
        assert ran.code == 3
        assert "No space left on device" in ran.err
        again = runbook("clean")
        assert (again.code, again.out.partition(" ")[0]) == (3, "did")
        subprocess.run(["mount", "-o", "remount,size=30m", home], check=True)
        done = runbook("clean")
        assert done.code == 0, done.err
        (made,) = home.glob("trajectories/*/*/*/results/made.txt")
        assert made.read_text() == "made\n"
        assert runbook("clean").out == "There is nothing to remove.\n"
    finally:
        subprocess.run(["umount", home], check=True)


def test_results_of_a_killed_run_wait_for_its_project_that_was_moved(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start, tmp_path: Path
) -> None:
    made = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    project = tmp_path / "project"
    (project / ".runbook").mkdir(parents=True)
    shutil.copytree(made, project / "work")
    outside, runbook.cwd = runbook.cwd, project
    process, trajectory = start_work(project / "work", backend)
    kill(process)
    runbook.cwd = outside
    project.rename(tmp_path / "renamed")
    held = runbook("clean")
    assert held.code == 3
    assert f"{trajectory}: The results of run {trajectory.name} are still in its {backend} sandbox" in held.err
    assert "`runbook clean --discard` removes them unseen" in held.err
    (tmp_path / "renamed").rename(project)
    assert runbook("clean").code == 0
    assert (trajectory / "results/out.txt").read_text() == "made\n"
    assert json.loads((trajectory / "trajectory.json").read_text())["error"] == "interrupted"
    assert runbook.left() == []


OWN_AGENT = """\
argv = ["sh", "-c", "echo made > $RESULTS_DIR/out.txt; echo started; sleep 600"]
"""


@pytest.mark.parametrize("agent", ["gone", "broken"])
def test_results_of_a_killed_run_need_no_agent(
    runbook: Any, shell_runbook: Write, start_work: Start, agent: str
) -> None:
    declared = runbook.cwd / ".runbook" / "agents" / "mine.toml"
    declared.parent.mkdir(parents=True)
    declared.write_text(OWN_AGENT)
    process, trajectory = start_work(shell_runbook("true"), "host", "--agent", "mine", "--trust")
    kill(process)
    if agent == "gone":
        declared.unlink()
    else:
        declared.write_text("argv = [")
    assert runbook("clean").code == 0
    assert (trajectory / "results/out.txt").read_text() == "made\n"
    assert "session files were not collected" in (trajectory / "trajectory.json").read_text()


def test_results_that_an_image_brought_are_none_of_a_killed_run(
    runbook: Any, shell_runbook: Write, start_work: Start, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM runbook-runner/base:python312\nRUN mkdir -p /app/results && cd /app/results && echo old | tee a b\n"
    )
    build = ["docker", "build", "-q", "-t", "brings-results:test", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    path = shell_runbook("echo new > /app/results/b; echo started; sleep 600")
    process, trajectory = start_work(path, "docker", "--image", "brings-results:test")
    kill(process)
    assert runbook("clean").code == 0
    assert {file.name: file.read_text() for file in (trajectory / "results").iterdir()} == {"b": "new\n"}


# --- results with secrets ------------------------------------------------------------------------------------------

TOKEN = "crm-CANARY-8f3a-0123456789"


def holding(folder: Path, value: str = TOKEN) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and value.encode() in file.read_bytes()]


def with_secret(path: Path) -> Path:
    """Declares CRM_TOKEN in the runbook of a folder."""
    file = path / "RUNBOOK.md"
    file.write_text(file.read_text().replace("---\n", "---\nsecrets: {CRM_TOKEN: {}}\n", 1))
    return path


LEAK = 'echo "it is $CRM_TOKEN" > /app/results/out.txt; echo started; sleep 600'


def test_results_of_a_killed_run_are_cleaned_with_the_secrets_of_its_own_files(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start
) -> None:
    path = with_secret(shell_runbook(LEAK))
    (path / ".env").write_text(f"CRM_TOKEN={TOKEN}\n")
    process, trajectory = start_work(path, backend)
    kill(process)
    assert runbook("clean").code == 0
    assert (trajectory / "results/out.txt").read_text() == "it is ***REDACTED:CRM_TOKEN***\n"
    assert holding(trajectory) == []


def test_results_of_a_killed_run_lose_the_users_own_value_of_a_secrets_name_too(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start
) -> None:
    mine = "crm-CANARY-of-the-user-0123"
    path = with_secret(shell_runbook(LEAK.replace("it is", f"it is {mine} or")))
    (path / ".env").write_text(f"CRM_TOKEN={TOKEN}\n")
    process, trajectory = start_work(path, backend)
    kill(process)
    assert runbook("clean", env={"CRM_TOKEN": mine}).code == 0
    mark = "***REDACTED:CRM_TOKEN***"
    assert (trajectory / "results/out.txt").read_text() == f"it is {mark} or {mark}\n"


def test_results_of_a_killed_run_wait_for_its_secrets(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start, tmp_path: Path
) -> None:
    path = with_secret(shell_runbook(LEAK))
    given = tmp_path / "given.env"
    given.write_text(f"CRM_TOKEN={TOKEN}\n")
    process, trajectory = start_work(path, backend, "--env-file", str(given))
    assert holding(Path(runbook.data, "runs")) == [], "a claim holds no value"
    kill(process)
    given.rename(tmp_path / "moved.env")
    for environment in ({}, {"CRM_TOKEN": "another-value"}):
        held = runbook("clean", env=environment)
        assert held.code == 3
        assert "CRM_TOKEN" in held.err
        assert "runbook clean --env-file" in held.err
        assert not list((trajectory / "results").glob("*"))
    record = json.loads((trajectory / "trajectory.json").read_text())
    assert record["status"] == "failed"
    assert (trajectory / "events.jsonl").read_text().count("held back") == 1, "said once"
    done = runbook("clean", "--env-file", str(tmp_path / "moved.env"))
    assert done.code == 0, done.err
    assert (trajectory / "results/out.txt").read_text() == "it is ***REDACTED:CRM_TOKEN***\n"
    assert holding(trajectory) == []
    assert "nothing to remove" in runbook("clean").out


def test_held_results_keep_no_run_from_starting_and_can_be_given_up(
    runbook: Any, shell_runbook: Write, backend: str, start_work: Start, work: Path, tmp_path: Path
) -> None:
    path = with_secret(shell_runbook(LEAK))
    given = tmp_path / "given.env"
    given.write_text(f"CRM_TOKEN={TOKEN}\n")
    process, trajectory = start_work(path, backend, "--env-file", str(given))
    kill(process)
    given.unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/RUNBOOK.md").write_text(
        (path / "RUNBOOK.md").read_text().replace("secrets: {CRM_TOKEN: {}}\n", "").replace("; sleep 600", "")
    )
    other = runbook("run", tmp_path / "other", "--sandbox", backend)
    assert other.code == 0, other.err
    assert "results of run" in other.err
    assert runbook("clean", "--discard").code == 0
    assert not list((trajectory / "results").glob("*"))
    assert not list(work.iterdir())
    assert containers(trajectory) == ""


def test_results_wait_for_their_secrets_also_when_there_was_no_room_to_say_so(
    runbook: Any, shell_runbook: Write, start_work: Start, tmp_path: Path
) -> None:
    """What is written first is that they wait: a record that is closed by then would tell that they are at home."""
    Path(runbook.data).mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", runbook.data], check=True)
    try:
        path = with_secret(shell_runbook(LEAK))
        given = tmp_path / "given.env"
        given.write_text(f"CRM_TOKEN={TOKEN}\n")
        process, trajectory = start_work(path, "host", "--env-file", str(given))
        kill(process)
        given.rename(tmp_path / "moved.env")
        filling = Path(runbook.data, "filling")
        with suppress(OSError), filling.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        held = runbook("clean")
        assert held.code == 3, held.err
        assert "run.finished" not in (trajectory / "events.jsonl").read_text()
        filling.unlink()
        assert runbook("clean", "--env-file", str(tmp_path / "moved.env")).code == 0
        assert (trajectory / "results/out.txt").read_text() == "it is ***REDACTED:CRM_TOKEN***\n"
    finally:
        subprocess.run(["umount", runbook.data], check=True)


def test_results_of_a_killed_run_are_cleaned_of_a_secret_that_is_one_of_its_limits(
    runbook: Any, shell_runbook: Write, start_work: Start
) -> None:
    """A clone chooses what its own `.env` says."""
    path = with_secret(shell_runbook(LEAK))
    (path / ".env").write_text("CRM_TOKEN=8589934592\n")
    process, trajectory = start_work(path, "host", "--memory", "8G")
    kill(process)
    assert runbook("clean").code == 0
    assert (trajectory / "results/out.txt").read_text() == "it is ***REDACTED:CRM_TOKEN***\n"
    assert json.loads((trajectory / "spec.json").read_text())["limits"]["memory_bytes"] == 8 << 30
