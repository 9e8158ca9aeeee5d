"""How soon after a save `runbook watch` has started the next run, its sandbox and its agent, in each backend that works
here.

    python tests/bench/watch.py [--saves 9]

Each save changes the last step. The times are from just before the file is written to the event in the run's log; the
ratio is to the same time of a bare `runbook run`, from the start of its process. Leaves with 1 when a run starts later
than 0.5 s after the save in the median.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

RUNBOOK = str(Path(sys.executable).with_name("runbook"))
TARGET_S = 0.5
WAIT_S = 120.0
EVENTS = {"run.started": "run", "sandbox.started": "sandbox", "agent.started": "agent"}
BOOK = """\
---
version: "1.0.0"
evaluation: programmatic
agent: shell
---
# Bench — Agent Runbook

## Objective

Write a number.

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The number |

## Step 1: Work

```bash
echo {number} > /app/results/out.txt
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=9)
    saves = parser.parse_args().saves
    met = [bench(name, saves) for name in working()]
    return 0 if met and all(met) else 1


def working() -> list[str]:
    from runbook_runner.core.errors import RunbookError
    from runbook_runner.sandbox.backends import usual_backends

    found = []
    for backend in usual_backends():
        try:
            backend.open(None).require()
            found.append(backend.name)
        except RunbookError as error:
            print(f"{backend.name}: left out, {error.message}")
    return found


def bench(backend: str, saves: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="watch-bench-") as place:
        folder = Path(place)
        os.environ.update(RUNBOOK_HOME=str(folder / "home"), RUNBOOK_DATA=str(folder / "data"))
        book = folder / "RUNBOOK.md"
        book.write_text(BOOK.format(number=0))
        bare = [run_once(folder, backend) for _ in range(3)]
        floors = {what: statistics.median(times[what] for times in bare) for what in EVENTS.values()}
        times = watched(folder, backend, saves)
    met = True
    for what in EVENTS.values():
        seconds = [one[what] for one in times]
        middle, worst = statistics.median(seconds), max(seconds)
        aim = ""
        if what == "run":
            met = middle <= TARGET_S
            aim = f", target {TARGET_S:g} s: {'met' if met else 'MISSED'}"
        ratio = middle / floors[what]
        print(f"{backend:11} save → {what:8} {middle:6.3f} s, worst {worst:6.3f} s = {ratio:5.2f} × a bare run{aim}")
    return met


def run_once(folder: Path, backend: str) -> dict[str, float]:
    before, began = set(logs(folder)), time.time()
    command = [RUNBOOK, "run", ".", "--sandbox", backend, "--quiet"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (log,) = set(logs(folder)) - before
    return since(began, log)


def watched(folder: Path, backend: str, saves: int) -> list[dict[str, float]]:
    before = set(logs(folder))
    command = [RUNBOOK, "watch", ".", "--sandbox", backend, "--quiet"]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        known = before | {wait(lambda: ended(folder, before))}
        times = []
        for number in range(1, saves + 1):
            time.sleep(1.0)  # an author takes longer, and a sandbox is made ready meanwhile
            began = time.time()
            (folder / "RUNBOOK.md").write_text(BOOK.format(number=number))
            log = wait(lambda: ended(folder, known))  # noqa: B023 - it is called at once
            known |= {log}
            times.append(since(began, log))
        return times
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def logs(folder: Path) -> list[Path]:
    return list((folder / "home").glob("trajectories/*/*/*/events.jsonl"))


def ended(folder: Path, known: set[Path]) -> Path | None:
    return next((log for log in logs(folder) if log not in known and '"run.finished"' in log.read_text()), None)


def wait(condition: Callable[[], Path | None]) -> Path:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)
    raise SystemExit("There was no run.")


def since(began: float, log: Path) -> dict[str, float]:
    """Seconds from then to the events of interest."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        EVENTS[event["type"]]: datetime.fromisoformat(event["ts"].replace("Z", "+00:00")).timestamp() - began
        for event in events
        if event["type"] in EVENTS
    }


if __name__ == "__main__":
    sys.exit(main())
