"""What `runbook eval` costs. Run it with `python tests/bench/eval.py [SANDBOX]` (default: host).

1. The time of a cell, of 8 one after the other, beside a bare `runbook run` of the same runbook; both with their start.
   Target: at most 5 % over the bare run.
2. 16 cells that wait for their model (a script with a delay of 1 s), four at once, beside one after the other. Target:
   at least three times as fast.

The two sides of each figure are timed in turns, and the best of each counts: other work on the machine only ever adds.
The exit code is 1 when a target is missed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNBOOK = """\
---
version: "1.0.0"
agent: waiter
---
# Bench — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | x |

## Step 1: Work

Write out.txt.
"""
ASKS = (
    "curl -sf $URL/v1/chat/completions -H 'Authorization: Bearer '$TOKEN -H 'Content-Type: application/json' "
    '-d \'{"model":"m","messages":[{"role":"user","content":"hello"}]}\' > results/out.txt'
)
ROUNDS, CELLS, WAITING = 5, 8, 16
OVERHEAD_TARGET, SPEED_TARGET = 1.05, 3.0


def write(folder: Path) -> None:
    (folder / "RUNBOOK.md").write_text(RUNBOOK)
    agent = folder / ".runbook/agents/waiter.toml"
    agent.parent.mkdir(parents=True)
    agent.write_text(
        f'argv = {json.dumps(["bash", "-c", ASKS])}\nprompt = "stdin"\ndialect = "openai-chat"\ndefault_model = "m"\n'
        'env = { TOKEN = "{token}", URL = "{gateway_url}" }\n'
    )
    (folder / "quick.yaml").write_text("- say: Hello.\n")
    (folder / "slow.yaml").write_text("- say: Hello.\n  delay: 1.0\n")


def timed(folder: Path, *args: str) -> float:
    command = [str(Path(sys.executable).with_name("runbook")), *args, "--trust", "-q"]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    sandbox = ("--sandbox", sys.argv[1] if len(sys.argv) > 1 else "host")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        quick = ("--model-script", "quick.yaml", *sandbox)
        slow = ("eval", ".", "--model-script", "slow.yaml", "--repeats", str(WAITING), *sandbox, "--concurrency")
        timed(folder, "run", ".", *quick)  # what is made once: bytecode, programs of the sandbox
        bare, cell, alone, four = [], [], [], []
        for _ in range(ROUNDS):
            bare.append(timed(folder, "run", ".", *quick))
            series = ("--repeats", str(CELLS), "--concurrency", "1")
            cell.append(timed(folder, "eval", ".", *quick, *series) / CELLS)
        for _ in range(2):
            alone.append(timed(folder, *slow, "1"))
            four.append(timed(folder, *slow, "4"))
    overhead, speed = min(cell) / min(bare), min(alone) / min(four)
    print(f"a bare run {min(bare):.2f} s, a cell {min(cell):.2f} s: {overhead:.2f} × (target: {OVERHEAD_TARGET})")
    at_once = f"{WAITING} cells one by one {min(alone):.1f} s, four at once {min(four):.1f} s"
    print(f"{at_once}: {speed:.2f} × as fast (target: {SPEED_TARGET:g})")
    return int(overhead > OVERHEAD_TARGET or speed < SPEED_TARGET)


if __name__ == "__main__":
    sys.exit(main())
