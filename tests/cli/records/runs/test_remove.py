"""`runbook runs cancel`, `rm`, `prune`: with live runs of real processes."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]
WAITS = "echo early > /app/results/out.txt; touch {begun}; sleep 120"


@pytest.fixture
def live(runbook: Any, shell_runbook: Write, eventually: Any, tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts a run that has made a result and goes on."""

    def start() -> Any:
        begun = tmp_path / "begun"
        code = WAITS.format(begun=begun)
        process = runbook.start("run", shell_runbook(code), "--sandbox", "host", "--json")
        eventually(begun.exists)
        return process

    return start


@pytest.fixture
def ended(runbook: Any, shell_runbook: Write) -> Callable[..., Path]:
    def run() -> Path:
        ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--json")
        assert ran.code == 0, ran.err
        return Path(ran.folder)

    return run


def kept(runbook: Any) -> list[str]:
    return sorted(path.name for path in (runbook.cwd / ".runbook/trajectories").glob("*/*/*"))


# --- list ----------------------------------------------------------------------------------------------------------


def test_a_dead_run_is_listed_as_such_and_a_live_one_is_not(runbook: Any, live: Any) -> None:
    process = live()
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert (row["status"], row["alive"]) == ("running", True)
    seen = runbook("runs", "list")
    assert " RUNNING " in seen.out
    assert "clean" not in seen.err
    process.kill()
    process.communicate(timeout=60)
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert (row["status"], row["alive"]) == ("running", False)
    seen = runbook("runs", "list")
    assert " DEAD " in seen.out
    assert "`runbook clean` collects" in seen.err
    assert runbook("clean").code == 0
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert (row["status"], row["alive"]) == ("failed", None)
    assert runbook.left() == []


# --- cancel --------------------------------------------------------------------------------------------------------


def test_a_live_run_of_another_process_ends_in_order_with_its_results(runbook: Any, live: Any) -> None:
    process = live()
    ran = runbook("runs", "cancel", "@last", "--json")
    out, _ = process.communicate(timeout=60)
    assert (ran.code, ran.json["ended"], ran.json["status"]) == (0, "cancelled", "cancelled"), ran.err
    assert process.returncode == 130
    folder = Path(ran.json["path"])
    assert (folder / "results/out.txt").read_text() == "early\n"
    assert json.loads(out)["status"] == "cancelled"
    assert runbook.left() == []
    again = runbook("runs", "cancel", "@last")
    assert again.code == 2
    assert f"{folder.name} has ended already: CANCELLED, 20" in again.err


def test_one_of_several_runs_of_a_process_ends_alone(
    runbook: Any, shell_runbook: Write, eventually: Any, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    code = f"echo x > /app/results/out.txt; while [ ! -e {go} ]; do sleep 0.1; done"
    process = runbook.start("eval", shell_runbook(code), "--repeats", "2", "--concurrency", "2", "--sandbox", "host")
    both = eventually(lambda: len(found := list((tmp_path / ".runbook").rglob("events.jsonl"))) == 2 and found)
    eventually(lambda: all("agent.started" in log.read_text() for log in both))
    ran = runbook("runs", "cancel", both[0].parent.name, "--json")
    assert (ran.code, ran.json["status"]) == (0, "cancelled"), ran.err
    assert "run.finished" not in both[1].read_text()
    go.touch()
    process.communicate(timeout=60)
    assert json.loads((both[1].parent / "trajectory.json").read_text())["status"] == "completed"


def test_a_dead_run_is_finished_as_clean_does(runbook: Any, live: Any) -> None:
    process = live()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    ran = runbook("runs", "cancel", "@last", "--json")
    assert (ran.code, ran.json["ended"], ran.json["status"]) == (0, "recovered", "failed"), ran.err
    assert (Path(ran.json["path"]) / "results/out.txt").read_text() == "early\n"
    assert runbook.left() == []


def test_a_live_run_is_not_hidden_by_a_status_and_not_replayed(runbook: Any, live: Any) -> None:
    process = live()
    assert runbook("runs", "label", "@last", "--status", "archived").code == 0
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert (row["outcome"], row["alive"]) == ("running", True)
    replayed = runbook("replay", "@last", "--sandbox", "host")
    assert (replayed.code, "goes on: it can be replayed once it has ended" in replayed.err) == (2, True)
    assert runbook("runs", "cancel", "@last").code == 0
    process.communicate(timeout=60)
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert row["outcome"] == "archived"


# --- rm ------------------------------------------------------------------------------------------------------------


def test_a_live_run_is_never_removed(runbook: Any, live: Any) -> None:
    process = live()
    for words in (("rm", "@last"), ("rm", "@last", "--force")):
        ran = runbook("runs", *words)
        assert ran.code == 2
        assert "is live" in ran.err
    assert runbook("runs", "prune", "--keep", "0", "--json").json["removed"] == []
    assert runbook("runs", "cancel", "@last").code == 0
    process.communicate(timeout=60)
    assert runbook("runs", "rm", "@last").code == 0
    assert kept(runbook) == []


def test_a_run_whose_end_is_not_recorded_needs_force(runbook: Any, ended: Any) -> None:
    folder = ended()
    log = folder / "events.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    (folder / "trajectory.json").unlink()
    assert runbook("import", str(folder)).code == 0, "what was written over is own again"
    ran = runbook("runs", "rm", folder.name)
    assert ran.code == 2
    assert "--force" in ran.err
    assert runbook("runs", "prune", "--keep", "0", "--json").json["removed"] == []
    assert runbook("runs", "rm", folder.name, "--force").code == 0


@pytest.mark.parametrize("damage", ["first line", "status of a newer version"])
def test_a_run_whose_end_is_not_known_needs_force(runbook: Any, ended: Any, damage: str) -> None:
    folder = ended()
    if damage == "first line":
        (folder / "trajectory.json").unlink()
        (folder / "events.jsonl").write_text("X" + (folder / "events.jsonl").read_text())
    else:
        body = json.loads((folder / "trajectory.json").read_text())
        (folder / "trajectory.json").write_text(json.dumps({**body, "status": "paused"}))
    assert runbook("import", str(folder)).code == 0, "what was written over is own again"
    ran = runbook("runs", "rm", folder.name)
    assert (ran.code, f"Run {folder.name} can't be removed: its end is not known: " in ran.err) == (2, True)
    pruned = runbook("runs", "prune", "--keep", "0", "--json")
    assert pruned.json["removed"] == []
    assert f"`runbook runs rm --force {folder.name}` removes it" in pruned.err
    assert runbook("runs", "rm", folder.name, "--force").code == 0
    assert kept(runbook) == []


def test_results_that_wait_in_a_sandbox_are_not_given_up(runbook: Any, eventually: Any, tmp_path: Path) -> None:
    """A killed run with a secret is closed without it, and its results stay where they are."""
    begun = tmp_path / "begun"
    text = "---\nagent: shell\nsecrets:\n  demo: {env: DEMO_PASS}\n---\n# Test\n\n## Step 1\n```bash\n"
    (tmp_path / "RUNBOOK.md").write_text(f"{text}{WAITS.format(begun=begun)}\n```\n")
    secret = {"DEMO_PASS": "correct-horse"}
    process = runbook.start("run", ".", "--sandbox", "host", "--secret", "DEMO_PASS", env=secret)
    eventually(begun.exists)
    process.kill()
    process.communicate(timeout=60)
    assert runbook("clean").code == 3
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert row["status"] == "failed"
    ran = runbook("runs", "rm", "@last")
    assert (ran.code, "its results may still be in its sandbox" in ran.err) == (2, True)
    assert runbook("runs", "prune", "--keep", "0", "--json").json["removed"] == []
    assert runbook("clean", env=secret).code == 0
    assert (Path(row["path"]) / "results/out.txt").read_text() == "early\n"
    assert runbook("runs", "prune", "--keep", "0", "--json").json["removed"] == [row["path"]]


def test_runs_go_whole_or_not_at_all(runbook: Any, ended: Any) -> None:
    first, second = ended(), ended()
    ran = runbook("runs", "rm", first.name, "nonesuch")
    assert ran.code == 2
    assert len(kept(runbook)) == 2
    assert runbook("runs", "rm", first.name, "--dry-run").out == f"would remove {first}\n"
    killed = first.with_name(f".{first.name}.0123456789abcdef.removed")
    first.rename(killed)  # by a removal that was killed then
    assert runbook("runs", "list", "--json").json["total"] == 1
    assert runbook("runs", "rm", second.name).code == 0
    assert kept(runbook) == []
    assert not killed.exists()


def test_links_are_not_followed(runbook: Any, ended: Any, tmp_path: Path) -> None:
    folder, outside = ended(), tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    (folder / "results" / "link").symlink_to(outside)
    (folder / "results" / "closed").mkdir(mode=0o500)
    assert runbook("runs", "rm", str(folder)).code == 0
    assert (outside / "mine.txt").read_text() == "mine"
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "events.jsonl").write_text("{}")
    ran = runbook("runs", "rm", str(copy))
    assert ran.code == 2
    assert "is not one of the runs" in ran.err


# --- prune ---------------------------------------------------------------------------------------------------------


def test_the_latest_runs_stay(runbook: Any, ended: Any) -> None:
    first, second, third = ended(), ended(), ended()
    dry = runbook("runs", "prune", "--keep", "1", "--dry-run", "--json").json
    assert dry["removed"] == [str(first), str(second)]
    assert len(kept(runbook)) == 3
    (first / "results" / "big").write_bytes(os.urandom(3 << 20))
    assert runbook("runs", "prune", "--max-size", "2M", "--json").json["removed"] == [str(first)]
    assert runbook("runs", "prune", "--older-than", "1d", "--json").json["removed"] == []
    assert runbook("runs", "prune", "--older-than", "2099-01-01", "--label", "x", "--json").json["removed"] == []
    named, summed = runbook("runs", "prune", "--keep", "1").out.splitlines()
    assert named.startswith(f"removed local/test/{second.name} PASS · new · ")
    assert summed.startswith("removed 1 run, ")
    assert kept(runbook) == [third.name]


@pytest.mark.parametrize("words", [(), ("--max-size", "much"), ("--keep", "-1"), ("--older-than", "soon")])
def test_a_rule_is_needed_that_can_be_understood(runbook: Any, words: tuple[str, ...]) -> None:
    assert runbook("runs", "prune", *words).code == 2
