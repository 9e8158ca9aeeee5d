"""`kill -9` of the runner at any moment: nothing that had happened is lost, the next start leaves nothing behind."""

import json
import os
import random
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

pytestmark = pytest.mark.xdist_group("docker-live")

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
    found = set()
    for container in docker_lines("ps", "-aq", "--filter", "label=runbook.trajectory"):
        shown = subprocess.run(["docker", "inspect", container], capture_output=True, text=True)
        if shown.returncode == 0 and str(home) in shown.stdout:
            found.add(container)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 20, *, every: float = 0.1) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(every)


def start_again(runbook: Any, backend: str) -> None:
    """The next start, and one more while something is claimed: another test's start may be cleaning up a run of ours at
    this moment, and be killed by its own test."""
    end, active = time.monotonic() + 90, runbook.cwd / ".runbook" / "active"
    while True:
        ran = runbook("run", EXAMPLES / "hello", "--sandbox", backend)
        assert ran.code == 0, ran.err
        if not list(active.iterdir()):
            return
        assert time.monotonic() < end, ran.err


def volumes() -> set[str]:
    return docker_lines("volume", "ls", "-q")


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
def test_killed_at_ten_moments_in_docker_every_run_folds_and_no_container_stays(runbook: Any) -> None:
    networks = docker_lines("network", "ls", "-q")
    began = time.monotonic()
    whole = runbook("run", SALES, "--model-script", SCRIPT, "--json")
    assert whole.code == 0, whole.err
    lasts = time.monotonic() - began
    for moment in range(MOMENTS):
        kill_after(runbook, lasts * (0.15 + 0.8 * moment / MOMENTS), "run", SALES, "--model-script", SCRIPT)
    start_again(runbook, "docker")
    home = runbook.cwd / ".runbook"
    wait_for(lambda: ours(home) == set())
    assert docker_lines("network", "ls", "-q") == networks
    statuses = check_folded(home)
    assert statuses.count("failed") >= 3, "some were really killed half way"


@pytest.mark.needs("linux")
def test_killed_at_ten_moments_on_the_host_no_process_and_no_folder_stays(
    runbook: Any, shell_runbook: Callable[[str], Path], tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    runbook.env["TMPDIR"] = str(temporary)
    word = f"8{time.monotonic_ns() % 10_000_000}"
    path = shell_runbook(f"echo made > /app/results/out.txt\nsetsid sleep {word} &\nsleep {word}")
    for moment in range(MOMENTS):
        kill_after(runbook, 0.2 + 0.12 * moment, "run", path, "--sandbox", "host")
    process = runbook.start("run", path, "--sandbox", "host")  # on a busy machine none of them came so far
    wait_for(lambda: any(temporary.glob("runbook-*/results/out.txt")), 60)
    process.kill()
    process.communicate(timeout=30)
    assert runbook("run", EXAMPLES / "hello", "--sandbox", "host").code == 0
    wait_for(lambda: f"sleep {word}" not in processes())
    assert list(temporary.iterdir()) == []
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
    runbook: Any, shell_runbook: Callable[[str], Path], backend: str
) -> None:
    path = shell_runbook(
        "echo made > /app/results/out.txt\nmkdir /app/results/d\necho deep > /app/results/d/.hidden\n"
        "head -c 200000000 /dev/zero > /app/results/large"
    )
    home, process = runbook.cwd / ".runbook", runbook.start("run", path, "--sandbox", backend)
    wait_for(lambda: any(home.glob("trajectories/local/test/*/.results.*.part")), every=0.002)
    process.kill()
    process.communicate(timeout=30)
    (folder,) = home.glob("trajectories/local/test/*")
    assert not (folder / "results/large").exists(), "it was killed too late"
    start_again(runbook, backend)
    trajectory = json.loads((folder / "trajectory.json").read_text())
    assert trajectory["error"] == "interrupted"
    artifacts = [event.event.path for event in read_events(folder) if isinstance(event.event, Artifact)]
    assert sorted(artifacts) == ["results/d/.hidden", "results/large", "results/out.txt"]
    assert len(trajectory["steps"]["run"]["outputs"]["results_files"]) == 3
    assert (folder / "results/large").stat().st_size == 200_000_000
    assert list(folder.glob(".*")) == []
    assert "another file" not in (folder / "events.jsonl").read_text()


POINTS = 20
TOGETHER = (
    ("docker",),
    ("docker", "--network", "allowlist", "--allow-host", "example.org"),
    ("bubblewrap",),
    ("bubblewrap", "--network", "allowlist", "--allow-host", "example.org"),
)


@pytest.mark.needs("docker", "bubblewrap")
def test_four_at_once_killed_at_twenty_random_points_leave_nothing_behind(
    runbook: Any, shell_runbook: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    seed = int(os.environ.get("RUNBOOK_TEST_SEED") or time.time_ns() % 10**9)
    print(f"RUNBOOK_TEST_SEED={seed}")
    temporary = tmp_path_factory.mktemp("t")  # short: sockets lie in it
    runbook.env["TMPDIR"] = str(temporary)
    word, home, before = f"7{time.monotonic_ns() % 10_000_000:07}", runbook.cwd / ".runbook", volumes()
    path = shell_runbook(f"echo made > /app/results/out.txt\nsetsid sleep {word} &\nsleep 1.{word}")
    chance = random.Random(seed)
    for _ in range(POINTS):
        kill_together(runbook, path, sorted(chance.uniform(0.2, 3.0) for _ in TOGETHER))
    start_again(runbook, "docker")
    wait_for(lambda: word not in processes() and ours(home) == set())
    wait_for(lambda: [*temporary.iterdir(), *(home / "active").iterdir()] == [])
    wait_for(lambda: volumes() <= before)
    assert docker_lines("network", "ls", "-q", "--filter", "label=runbook.trajectory") == set()
    assert [file for file in home.rglob(".*") if file.is_file() and file.name != ".gitignore"] == []
    runs = {folder.name for folder in home.glob("trajectories/*/*/*")}
    groups = {folder.name.split("-")[1] for folder in Path("/sys/fs/cgroup").rglob("runbook-*") if folder.is_dir()}
    assert groups & runs == set()
    statuses = check_folded(home)
    assert statuses.count("failed") >= POINTS // 4, "many were really killed half way"


def kill_together(runbook: Any, path: Path, moments: list[float]) -> None:
    """moments: one for each of `TOGETHER`, in seconds after their start."""
    runs = [runbook.start("run", path, "--sandbox", *how) for how in TOGETHER]
    random.Random(moments[0]).shuffle(runs)
    began = time.monotonic()
    for run, moment in zip(runs, moments, strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        run.kill()
    for run in runs:
        run.communicate(timeout=30)


def processes() -> str:
    return subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("docker")
def test_a_killed_runs_results_are_brought_home_from_its_container(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    path = shell_runbook("echo made > /app/results/out.txt\necho started\nsleep 600")
    process = runbook.start("run", path, "--sandbox", "docker")
    home = runbook.cwd / ".runbook"
    while "started" not in "".join(log.read_text() for log in home.glob("trajectories/*/*/*/agent/stdout.log")):
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=30)
    # Another folder's start finds it too: containers know whose they are.
    elsewhere = runbook.cwd / "elsewhere"
    assert runbook("run", EXAMPLES / "hello", "--sandbox", "docker", env={"RUNBOOK_HOME": str(elsewhere)}).code == 0
    assert ours(home) == set()
    assert next(home.glob("trajectories/*/*/*/results/out.txt")).read_text() == "made\n"
    assert check_folded(home) == ["failed"]


@pytest.mark.needs("docker")
def test_a_run_that_lives_is_not_touched_by_another_start(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    path = shell_runbook("echo started\nsleep 4\necho made > /app/results/out.txt")
    process = runbook.start("run", path, "--sandbox", "docker", "--json")
    home = runbook.cwd / ".runbook"
    while "started" not in "".join(log.read_text() for log in home.glob("trajectories/*/*/*/agent/stdout.log")):
        time.sleep(0.05)
    assert runbook("run", EXAMPLES / "hello", "--sandbox", "docker").code == 0
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "completed"
