"""`kill -9` of the runner at any moment: nothing that had happened is lost, the next start leaves nothing behind."""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runbook_runner.core.events import Artifact
from runbook_runner.trajectory.models import Trajectory
from runbook_runner.trajectory.store import read_events

EXAMPLES = Path(__file__).parents[2] / "examples"
SALES, SCRIPT = EXAMPLES / "sales-report", EXAMPLES / "sales-report" / "model.yaml"


MOMENTS = 10


def docker_lines(*args: str) -> set[str]:
    return set(subprocess.run(["docker", *args], capture_output=True, text=True, check=True).stdout.split())


def kill_after(runbook: Any, seconds: float, *args: Any) -> None:
    process = runbook.start(*args)
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=30)


def ours(home: Path) -> set[str]:
    """Containers whose trajectory is under this home, dead or alive."""
    runs = {folder.name for folder in home.glob("trajectories/*/*/*")}
    shown = docker_lines("ps", "-a", "--format", '{{.ID}}={{.Label "runbook.trajectory"}}')
    return {line.partition("=")[0] for line in shown if line.partition("=")[2] in runs}


def start_again(runbook: Any, backend: str, eventually: Any) -> None:
    """The next start, and more while a run is still claimed: the start of another test may be recovering one of these
    runs at this moment, and be killed by its own test."""

    def nothing_is_claimed() -> bool:
        ran = runbook("run", EXAMPLES / "hello", "--sandbox", backend)
        if ran.code:
            pytest.fail(ran.err)
        return not runbook.left()

    eventually(nothing_is_claimed, within=90)


def networks_and_volumes() -> set[str]:
    """Those in the engine that have the label of a run; no test makes one."""
    label = ("-q", "--filter", "label=runbook.trajectory")
    return docker_lines("network", "ls", *label) | docker_lines("volume", "ls", *label)


def check_folded(home: Path) -> list[str]:
    """Every trajectory folder holds a valid fold that says how it ended; the statuses."""
    statuses = []
    for folder in sorted(home.glob("trajectories/*/*/*")):
        if not (folder / "events.jsonl").exists() or not list(read_events(folder)):
            assert not (folder / "trajectory.json").exists()
            continue
        trajectory = json.loads((folder / "trajectory.json").read_text())
        jsonschema.Draft202012Validator(Trajectory.model_json_schema()).validate(trajectory)
        events = list(read_events(folder))
        assert [recorded.seq for recorded in events] == list(range(1, len(events) + 1))
        assert events[-1].event.type == "run.finished"  # type: ignore[attr-defined]
        if trajectory["status"] == "failed":
            assert trajectory["error"] == "interrupted"
        statuses.append(trajectory["status"])
    return statuses


@pytest.mark.needs("docker")
def test_killed_at_ten_moments_in_docker_every_run_folds_and_no_container_stays(runbook: Any, eventually: Any) -> None:
    home = runbook.cwd / ".runbook"
    whole = runbook("run", SALES, "--model-script", SCRIPT, "--json")
    assert whole.code == 0, whole.err
    events = len((whole.folder / "events.jsonl").read_text().splitlines())
    for moment in range(MOMENTS):
        kill_at(runbook, 1 + events * moment // MOMENTS, home, eventually)
    start_again(runbook, "docker", eventually)
    eventually(lambda: ours(home) == set())
    assert networks_and_volumes() == set()
    statuses = check_folded(home)
    assert statuses.count("failed") >= 3, "some were really killed half way"


def kill_at(runbook: Any, events: int, home: Path, eventually: Any) -> None:
    """Kills a run that has recorded so many events, if it has not ended by then."""
    before = set(home.glob("trajectories/*/*/*"))
    process = runbook.start("run", SALES, "--model-script", SCRIPT)

    def has_come_so_far() -> bool:
        logs = [folder / "events.jsonl" for folder in home.glob("trajectories/*/*/*") if folder not in before]
        return any(log.exists() and log.read_bytes().count(b"\n") >= events for log in logs)

    eventually(lambda: process.poll() is not None or has_come_so_far())
    process.kill()
    process.communicate(timeout=30)


@pytest.mark.needs("linux")
def test_killed_at_ten_moments_on_the_host_no_process_and_no_folder_stays(
    runbook: Any, shell_runbook: Callable[[str], Path], eventually: Any
) -> None:
    word = f"8{time.monotonic_ns() % 10_000_000}"
    path = shell_runbook(f"echo made > /app/results/out.txt\nsetsid sleep {word} &\nsleep {word}")
    for moment in range(MOMENTS):
        kill_after(runbook, 0.2 + 0.12 * moment, "run", path, "--sandbox", "host")
    process = runbook.start("run", path, "--sandbox", "host")  # on a busy machine none of them came so far
    eventually(lambda: any(runbook.data.glob("work/runbook-*/results/out.txt")))
    process.kill()
    process.communicate(timeout=30)
    assert runbook("run", EXAMPLES / "hello", "--sandbox", "host").code == 0
    eventually(lambda: f"sleep {word}" not in processes())
    assert runbook.left() == []
    home = runbook.cwd / ".runbook"
    assert "failed" in check_folded(home)
    assert list(home.glob("trajectories/local/test/*/results/out.txt")), "what a killed run had made was brought home"


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("docker", marks=pytest.mark.needs("docker")),
        pytest.param("bubblewrap", marks=pytest.mark.needs("bubblewrap")),
        pytest.param("host", marks=pytest.mark.needs("linux")),
    ],
)
def test_killed_while_its_results_come_home_it_has_them_all_after_the_next_start(
    runbook: Any, shell_runbook: Callable[[str], Path], backend: str, eventually: Any
) -> None:
    path = shell_runbook(
        "echo made > /app/results/out.txt\nmkdir /app/results/d\necho deep > /app/results/d/.hidden\n"
        "head -c 200000000 /dev/zero > /app/results/large"
    )
    folder = killed_while_collecting(runbook, eventually, "run", path, "--sandbox", backend)
    start_again(runbook, backend, eventually)
    trajectory = json.loads((folder / "trajectory.json").read_text())
    assert trajectory["error"] == "interrupted"
    artifacts = [event.event.path for event in read_events(folder) if isinstance(event.event, Artifact)]
    assert sorted(artifacts) == ["results/d/.hidden", "results/large", "results/out.txt"]
    assert len(trajectory["steps"]["run"]["outputs"]["results_files"]) == 3
    assert (folder / "results/large").stat().st_size == 200_000_000
    assert list(folder.glob(".*")) == []
    assert "another file" not in (folder / "events.jsonl").read_text()


def killed_while_collecting(runbook: Any, eventually: Any, *args: Any) -> Path:
    """The trajectory folder of a run that was killed while its results were copied; that is short, so that a kill may
    come too late."""
    for _ in range(10):
        if kill_while_collecting(runbook, eventually, *args):
            return next((runbook.cwd / ".runbook").glob("trajectories/local/test/*"))
        shutil.rmtree(runbook.cwd / ".runbook")
    raise AssertionError("It was killed too late ten times.")


def kill_while_collecting(runbook: Any, eventually: Any, *args: Any) -> bool:
    process = runbook.start(*args)

    def copies() -> list[Path]:
        return list((runbook.cwd / ".runbook").glob("trajectories/local/test/*/.results.*.part"))

    eventually(lambda: copies() or process.poll() is not None, every=0.002)
    process.kill()
    process.communicate(timeout=30)
    return bool(copies())


POINTS = 20
TOGETHER = (
    ("docker",),
    ("docker", "--network", "allowlist", "--allow-host", "example.org"),
    ("bubblewrap",),
    ("bubblewrap", "--network", "allowlist", "--allow-host", "example.org"),
)


@pytest.mark.needs("docker", "bubblewrap")
def test_four_at_once_killed_at_twenty_random_points_leave_nothing_behind(
    runbook: Any, shell_runbook: Callable[[str], Path], eventually: Any
) -> None:
    seed = int(os.environ.get("RUNBOOK_TEST_SEED") or time.time_ns() % 10**9)
    print(f"RUNBOOK_TEST_SEED={seed}")  # pytest shows it when the test fails
    word, home = f"7{time.monotonic_ns() % 10_000_000:07}", runbook.cwd / ".runbook"
    path = shell_runbook(f"echo made > /app/results/out.txt\nsetsid sleep {word} &\nsleep 1.{word}")
    chance = random.Random(seed)
    lasts = min(seconds_together(runbook, path) for _ in range(2))  # the first may build an image
    for _ in range(POINTS):
        kill_together(runbook, path, sorted(chance.uniform(0.1, 0.9) * lasts for _ in TOGETHER))
    start_again(runbook, "docker", eventually)
    eventually(lambda: word not in processes() and ours(home) == set())
    eventually(lambda: runbook.left() == [])
    assert networks_and_volumes() == set()
    assert [file for file in home.rglob(".*") if file.is_file() and file.name != ".gitignore"] == []
    runs = {folder.name for folder in home.glob("trajectories/*/*/*")}
    groups = {folder.name.split("-")[1] for folder in Path("/sys/fs/cgroup").rglob("runbook-*") if folder.is_dir()}
    assert groups & runs == set()
    statuses = check_folded(home)
    assert statuses.count("failed") >= POINTS // 4, "many were really killed half way"


def start_together(runbook: Any, path: Path) -> list[subprocess.Popen[str]]:
    return [runbook.start("run", path, "--sandbox", *how) for how in TOGETHER]


def seconds_together(runbook: Any, path: Path) -> float:
    """Until all have ended that are not killed."""
    began = time.monotonic()
    for run in start_together(runbook, path):
        _, err = run.communicate(timeout=200)
        assert run.returncode == 0, err
    return time.monotonic() - began


def kill_together(runbook: Any, path: Path, moments: list[float]) -> None:
    """moments: one for each of `TOGETHER`, in seconds after their start."""
    began, runs = time.monotonic(), start_together(runbook, path)
    random.Random(moments[0]).shuffle(runs)
    for run, moment in zip(runs, moments, strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        run.kill()
    for run in runs:
        run.communicate(timeout=30)


def processes() -> str:
    return subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("docker")
def test_a_killed_runs_results_are_brought_home_from_its_container(
    runbook: Any, shell_runbook: Callable[[str], Path], eventually: Any
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt\necho started\nsleep 600")
    process = runbook.start("run", path, "--sandbox", "docker")
    home = runbook.cwd / ".runbook"
    eventually(lambda: has_started(home))
    process.kill()
    process.communicate(timeout=30)
    # Another folder's start finds it too: containers know whose they are.
    elsewhere = runbook.cwd / "elsewhere"
    assert runbook("run", EXAMPLES / "hello", "--sandbox", "docker", env={"RUNBOOK_HOME": str(elsewhere)}).code == 0
    eventually(lambda: ours(home) == set())  # the start of another test may be removing it
    assert next(home.glob("trajectories/*/*/*/results/out.txt")).read_text() == "made\n"
    assert check_folded(home) == ["failed"]


@pytest.mark.needs("docker")
def test_a_run_that_lives_is_not_touched_by_another_start(
    runbook: Any, shell_runbook: Callable[[str], Path], eventually: Any
) -> None:
    until = "until [ -e /app/work/go ]; do sleep 0.1; done"
    path = shell_runbook(f"echo started\n{until}\necho made > /app/results/out.txt")
    process = runbook.start("run", path, "--sandbox", "docker", "--json")
    home = runbook.cwd / ".runbook"
    eventually(lambda: has_started(home))
    assert runbook("run", EXAMPLES / "hello", "--sandbox", "docker").code == 0
    (container,) = ours(home)
    subprocess.run(["docker", "exec", container, "touch", "/app/work/go"], check=True, timeout=60)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "completed"


def has_started(home: Path) -> bool:
    return any("started" in log.read_text() for log in home.glob("trajectories/*/*/*/agent/stdout.log"))
