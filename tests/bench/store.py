"""How fast 100,000 trajectories are listed, filtered, found, summed and indexed, and a log of 1,000,000 events folded.

Run it with `python tests/bench/store.py`. The figures of lists are the best of several, because other work on the
machine only ever adds; beside each is its ratio to a floor in the same run: for a list, one bare count of the table;
for a command, the start of Python; for the fold, reading the JSON of each line. Leaves with 1 when a target is missed.
"""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS, TASKS, EVENTS, TIMES = 100_000, 100, 1_000_000, 5
RUNBOOK = Path(sys.executable).with_name("runbook")
STATUSES = ("completed", "completed", "completed", "failed", "cancelled")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="store-bench-") as place:
        home = Path(place) / "home"
        os.environ.update(RUNBOOK_HOME=str(home), RUNBOOK_DATA=str(Path(place) / "data"))
        make_runs(home)
        met = [*bench_index(home), *bench_commands(), bench_fold(Path(place) / "fold")]
    return 0 if all(met) else 1


def told(what: str, seconds: float, target: float | None, floor: float, more: str = "") -> bool:
    met = target is None or seconds <= target
    aim = "" if target is None else f", target {target:g} s: {'met' if met else 'missed'}"
    print(f"{what:34} {seconds:8.4f} s = {seconds / floor:8.1f} × floor{aim}{more}", flush=True)
    return met


def best(work: Callable[[], Any]) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(TIMES))


def make_runs(home: Path) -> None:
    """As `runbook run` writes them, in short; every tenth came with the folder."""
    from runbook_runner.trajectory.index.own_runs import Note, add_note, stamp_of

    began = time.perf_counter()
    for number in range(RUNS):
        task, name = f"task-{number % TASKS:03d}", f"{number * 2_654_435_761 % (1 << 32):08x}"
        folder = home / "trajectories" / "bench" / task / name
        folder.mkdir(parents=True)
        created = f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{number % 24:02d}:00:00.{number:06d}Z"
        usage = {"total_tokens": number, "cost_usd": 0.01, "api_calls": 1}
        outputs = {"verdict": "pass" if number % 3 else "fail", "usage": usage}
        body = {
            "name": f"bench/{task}",
            "trajectory_id": name,
            "status": STATUSES[number % 5],
            "attributes": {"params": {"judge": {"score": number % 5}}},
            "created": created,
            "updated": created,
            "steps": {"run": {"outputs": outputs, "duration_seconds": number % 600}},
            "labels": [{"key": "team", "value": f"t{number % 50}", "created": created, "author": "me"}],
            "init_params": {"agent": "claude-code", "model": f"model-{number % 7}", "instruction": "x" * 2000},
            "error": None,
        }
        (folder / "trajectory.json").write_text(json.dumps(body))
        (folder / "events.jsonl").write_text('{"seq": 1, "type": "run.started"}\n')
        if number % 10:
            stamp = stamp_of(str(folder))
            note = Note(f"bench/{task}/{name}", folder.stat().st_ino, "run", "0" * 64, stamp=stamp)
            add_note(home, Path(os.environ["RUNBOOK_DATA"]), note)
    print(f"{RUNS:,} trajectories written in {time.perf_counter() - began:.1f} s", flush=True)


def bench_index(home: Path) -> list[bool]:
    from runbook_runner.trajectory.index.filters import Filters, order_by, stats
    from runbook_runner.trajectory.index.index import index_path, rebuilt, with_index
    from runbook_runner.trajectory.index.names import find_folder

    time.sleep(2.1)  # what was changed a moment ago is looked at again
    began = time.perf_counter()
    assert rebuilt(home) == RUNS
    reindex = time.perf_counter() - began
    with sqlite3.connect(index_path(home, Path(os.environ["RUNBOOK_DATA"]))) as database:
        floor = best(lambda: database.execute("SELECT count(*) FROM runs NOT INDEXED").fetchone())

    def listed(**filters: Any) -> Callable[[], Any]:
        where, values = Filters(**filters).sql()
        order = order_by("created", reverse=False)
        return lambda: with_index(
            home, lambda index: (index.rows(where, values, order, 20), index.count(where, values))
        )

    one = f"{2_654_435_761 * 777 % (1 << 32):08x}"
    ran = [
        told("list", best(listed()), 0.05, floor),
        told("list --status failed --task", best(listed(statuses=("failed",), tasks=("task-008",))), 0.05, floor),
        told("list --outcome failed", best(listed(outcomes=("failed",))), 0.05, floor),
        told("list --label", best(listed(labels=("team=t7",))), 0.05, floor),
        told("list --model --since", best(listed(models=("model-3",), since="2026-06-01")), 0.05, floor),
        told("show: by id", best(lambda: find_folder(home, one)), 0.05, floor),
        told("show: by the beginning of an id", best(lambda: find_folder(home, one[:6])), 0.05, floor),
        told("show: @last", best(lambda: find_folder(home, "@last")), 0.05, floor),
        told("show: @last-failed", best(lambda: find_folder(home, "@last-failed")), 0.05, floor),
        told("stats", best(lambda: with_index(home, lambda index: stats(index, "1", ()))), None, floor),
    ]
    return [*ran, told("reindex", reindex, None, floor)]


def bench_commands() -> list[bool]:
    def command(*words: str) -> Callable[[], Any]:
        return lambda: subprocess.check_output([RUNBOOK, "runs", *words])

    floor = best(lambda: subprocess.check_call([sys.executable, "-c", "pass"]))
    return [
        told("runbook runs list", best(command("list")), 0.4, floor),
        told("runbook runs list --status failed", best(command("list", "--status", "failed", "--json")), 0.4, floor),
        told("runbook runs stats", best(command("stats")), None, floor),
    ]


def bench_fold(folder: Path) -> bool:
    folder.mkdir()
    (folder / "agent").mkdir()
    make_log(folder / "events.jsonl")
    began = time.perf_counter()
    with (folder / "events.jsonl").open("rb") as log:
        for line in log:
            json.loads(line)
    floor = time.perf_counter() - began
    code = (
        "import sys, pathlib; from runbook_runner.trajectory import store; store.write_fold(pathlib.Path(sys.argv[1]))"
    )
    began = time.perf_counter()
    subprocess.check_call([sys.executable, "-c", code, str(folder)])
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    small = most <= 150
    size = f"; {most:.0f} MB, target 150 MB: {'met' if small else 'missed'}"
    return told(f"fold of {EVENTS:,} events", seconds, 15, floor, size) and small


def make_log(path: Path) -> None:
    """An agent that says something, calls its model and a tool, and gets an answer, again and again."""
    ts = "2026-03-01T10:00:00.000000Z"
    first = {
        "type": "run.started",
        "trajectory_id": "aaaa0001",
        "collection": "bench",
        "task": "t",
        "author": "me",
        "spec_digest": "sha256:0",
        "init_params": {"agent": "claude-code", "instruction": "x"},
        "step_config": {},
        "engine": "bench/0",
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "api_calls": 1, "cost_usd": 0.001}
    called = {"dialect": "anthropic", "model": "m", "source": "provider", "status": 200, "seconds": 1.5, "usage": usage}
    kinds: list[dict[str, Any]] = [
        {"type": "agent.message", "text": "I look at the next file."},
        {"type": "model.called", "number": 1, **called},
        {"type": "tool.called", "call_id": "NUMBER", "name": "Bash", "input": {"command": "ls -la /app/assets"}},
        {"type": "tool.returned", "call_id": "NUMBER", "output": "x" * 200, "exit_code": 0},
    ]
    lines = [json.dumps({"seq": "SEQ", "ts": ts, **kind}).replace('"SEQ"', "SEQ") + "\n" for kind in kinds]
    with path.open("w") as log:
        log.write(json.dumps({"seq": 1, "ts": ts, **first}) + "\n")
        for number in range(2, EVENTS):
            line = lines[number % len(lines)]
            log.write(line.replace("SEQ", str(number)).replace("NUMBER", f"toolu_{number // len(lines)}"))
        end = {"type": "run.finished", "status": "completed", "seconds": 60}
        log.write(json.dumps({"seq": EVENTS, "ts": ts, **end}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
