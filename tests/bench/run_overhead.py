"""How much `runbook` adds: a whole `runbook run examples/hello` in Docker against the engine's own floor, and
`runbook --version` against an empty Python.

    python tests/bench/run_overhead.py [--runs 9]

Each pair is timed in turn, A B A B …, so that a slow moment of the machine hits both; the ratio is the median of the
pairs' ratios. Needs a Docker engine; the first, uncounted round builds the image.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNBOOK = str(Path(sys.executable).with_name("runbook"))


def seconds(command: Sequence[str], cwd: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def compare(name: str, ours: Sequence[str], floor: Sequence[str], target: float, runs: int, cwd: str) -> None:
    seconds(ours, cwd)
    seconds(floor, cwd)
    pairs = [(seconds(ours, cwd), seconds(floor, cwd)) for _ in range(runs)]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    met = "met" if ratio <= target else "MISSED"
    print(f"{name}: {a * 1000:.0f} ms against {b * 1000:.0f} ms, ratio {ratio:.2f} (target {target}: {met})")


def image_of_hello(cwd: str) -> str:
    command = [RUNBOOK, "run", str(EXAMPLES / "hello"), "--sandbox", "docker", "--json"]
    out = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
    return str(json.loads(out)["image_digest"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as cwd:
        hello = [RUNBOOK, "run", str(EXAMPLES / "hello"), "--sandbox", "docker", "--quiet"]
        floor = ["docker", "run", "--rm", image_of_hello(cwd), "true"]
        compare("run examples/hello / docker run --rm IMAGE true", hello, floor, 2.5, runs, cwd)
        compare(
            "runbook --version / python -c pass", [RUNBOOK, "--version"], [sys.executable, "-c", "pass"], 4, runs, cwd
        )


if __name__ == "__main__":
    main()
