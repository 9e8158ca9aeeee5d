"""How fast `runbook check` is: 115 runbooks of 10 to 40 KB in one cold call, against `python -c pass` and against
markdown-it-py parsing the same files in a fresh process. Run it with `python tests/bench/check_speed.py`.

Each figure is the best of several calls, because other work on the machine only ever adds. Targets: all files in
0.4 s, one file in 6 × `python -c pass`, ten times as fast as markdown-it-py; the exit code is 1 when one of the first
two is missed.

Two more figures say where the time goes: the same files parsed in a running process, by markdown-it-py into its
tokens and by us into runbooks (headings, sections, tables, parameters, outputs, frontmatter); and what a cold process
pays before it reads the first file.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FILES, SMALLEST, LARGEST = 115, 10_000, 40_000
CALLS = 9
ALL_TARGET_S, ONE_TARGET = 0.4, 6.0
WORDS = ("the", "report", "file", "data", "column", "value", "check", "output", "result", "table", "write", "read")
PARSE = """
import sys
from pathlib import Path
from markdown_it import MarkdownIt
parser = MarkdownIt("commonmark").enable("table")
for path in Path(sys.argv[1]).glob("*/RUNBOOK.md"):
    parser.parse(path.read_text())
"""

INSIDE = """
import gc, sys, time
from pathlib import Path
from markdown_it import MarkdownIt
from runbook_runner.runbook.document import parse
texts = [path.read_text() for path in Path(sys.argv[1]).glob("*/RUNBOOK.md")]
parser = MarkdownIt("commonmark").enable("table")
gc.disable()
def best(one):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for text in texts:
            one(text)
        times.append(time.perf_counter() - start)
    return min(times)
print(best(parser.parse), best(parse))
"""

HEAD = """\
---
version: "1.0.0"
evaluation: programmatic
agent: claude-code
model: anthropic/claude-sonnet-4.6
model_provider: openrouter
snapshot: python312-uv
primary_outputs:
  - report.md
origin:
  url: https://skills.example/{number}
  attribution:
    author: A. Nonymous
    license: MIT
secrets: {{}}
---
# Task {number} — Agent Runbook

## Objective

{objective}

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/report.md` | The report |
| `/app/results/summary.md` | Three sentences |
| `/app/results/validation_report.json` | What was checked |

## Parameters

| Parameter | Template Variable | Default | Description |
|---|---|---|---|
| Topic | `{{{{topic}}}}` | `orders` | What it is about |
| Language | `{{{{language}}}}` | `en` | Of the report |

## Dependencies

| Dependency | Type | Required | Description |
|---|---|---|---|
| python | runtime | yes | Runs the script |
"""
STEP = """
## Step {number}: Work on {topic}

{prose}

{items}

```bash
set -euo pipefail
mkdir -p /app/results /app/work
for name in {words}; do
  echo "$name {{{{topic}}}} {{{{language}}}}" >> /app/results/report.md
done
cat > /app/results/summary.md <<'EOF'
{short}
EOF
```

### Details of step {number}

{prose}

```python
import json

rows = [{{"name": "{topic}", "count": {number}}}]
print(json.dumps(rows, indent=2))
```
{table}"""
TABLE = "\n| Key | Value | Note |\n|---|---|---|\n"
TAIL = """
## Step {evaluate}: Evaluate Outputs

| Status | Criteria |
|---|---|
| PASS | Everything is there |
| FAIL | Something is not |

## Step {iterate}: Iterate on Errors (max 3 rounds)

Mend what was found.

## Step {report}: Write Validation Report

```json
{{"version": "1.0.0", "stages": [{{"name": "setup", "passed": true}}], "overall_passed": true}}
```

## Final Checklist (MANDATORY — do not skip)

### Verification Script

```bash
echo "=== FINAL OUTPUT VERIFICATION ==="
for f in report.md summary.md validation_report.json; do
  [ -s "/app/results/$f" ] && echo "PASS: $f" || echo "FAIL: $f is missing or empty"
done
```

### Checklist

- [ ] `report.md` has every row

## Tips

- Ask for less first.
"""


def prose(chance: random.Random, count: int) -> str:
    words = (f"`{word}`" if chance.random() < 0.06 else word for word in chance.choices(WORDS, k=count))
    return " ".join(words).capitalize() + "."


def step(chance: random.Random, number: int) -> str:
    items = "\n".join(f"{n}. **{chance.choice(WORDS)}**: {prose(chance, 14)}" for n in range(1, 5))
    rows = "".join(f"| `{chance.choice(WORDS)}` | {number} | {prose(chance, 6)} |\n" for _ in range(5))
    return STEP.format(
        number=number,
        topic=chance.choice(WORDS),
        prose=prose(chance, 90),
        short=prose(chance, 30),
        items=items,
        words=" ".join(chance.sample(WORDS, 4)),
        table=TABLE + rows if number % 3 == 0 else "",
    )


def runbook(chance: random.Random, number: int, size: int) -> str:
    parts = [HEAD.format(number=number, objective=prose(chance, 50))]
    steps = 0
    while sum(map(len, parts)) < size - 2_500:
        steps += 1
        parts.append(step(chance, steps))
    return "".join([*parts, TAIL.format(evaluate=steps + 1, iterate=steps + 2, report=steps + 3)])


def write_all(folder: Path) -> Iterator[int]:
    chance = random.Random(115)
    for number in range(FILES):
        path = folder / f"r{number:03d}" / "RUNBOOK.md"
        path.parent.mkdir()
        path.write_text(runbook(chance, number, SMALLEST + (LARGEST - SMALLEST) * number // (FILES - 1)))
        yield path.stat().st_size


def seconds(*argv: str | Path) -> float:
    """Wall time of the quickest of several processes."""
    best = float("inf")
    for _ in range(CALLS):
        start = time.perf_counter()
        subprocess.run([*map(str, argv)], check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> int:
    check = Path(sys.executable).with_name("runbook")
    with tempfile.TemporaryDirectory() as name:
        sizes = list(write_all(Path(name)))
        start = seconds(sys.executable, "-c", "pass")
        others = seconds(sys.executable, "-c", PARSE, name)
        everything = seconds(check, "check", name)
        one = seconds(check, "check", Path(name, "r057", "RUNBOOK.md"))
        small = Path(name, "small", "RUNBOOK.md")
        small.parent.mkdir()
        small.write_text("---\nversion: 1.0.0\n---\n# T\n")
        nothing = seconds(check, "check", small, "--select", "RB101")
        small.unlink()
        inside = subprocess.run([sys.executable, "-c", INSIDE, name], check=True, capture_output=True, text=True)
        theirs, ours = map(float, inside.stdout.split())
    print(f"{FILES} runbooks, {min(sizes) / 1000:.0f} to {max(sizes) / 1000:.0f} KB, {sum(sizes) / 1e6:.2f} MB")
    print(f"python -c pass          {start * 1000:6.0f} ms")
    print(f"markdown-it-py alone    {others * 1000:6.0f} ms   {others / start:5.1f} × python -c pass")
    print(f"runbook check, all      {everything * 1000:6.0f} ms   (target: {ALL_TARGET_S * 1000:.0f} ms)")
    print(
        f"runbook check, one file {one * 1000:6.0f} ms   {one / start:5.1f} × python -c pass (target: {ONE_TARGET:g} ×)"
    )
    print(f"runbook check is {others / everything:.1f} × as fast as markdown-it-py alone (target: 10)")
    print(f"runbook check, four lines {nothing * 1000:4.0f} ms   what a cold process pays before it reads anything")
    print(f"parsing alone, in a running process: {ours * 1000:.0f} ms, markdown-it-py {theirs * 1000:.0f} ms: ", end="")
    print(f"{theirs / ours:.1f} ×")
    return 0 if everything <= ALL_TARGET_S and one / start <= ONE_TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
