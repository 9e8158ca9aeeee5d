from collections.abc import Callable
from pathlib import Path

import pytest

V1 = """\
---
version: 1.0.0
evaluation: programmatic
agent: claude-code
model: claude-sonnet-4-6
snapshot: python312-uv
primary_outputs:
  - report.md
secrets:
  SHOP_TOKEN:
    env: SHOP_TOKEN
    description: Reads the orders
---
# Orders — Agent Runbook

## Objective

Count the orders of {{shop}} and write them up.

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/report.md` | The counts |
| `/app/results/summary.md` | Three sentences |
| `/app/results/validation_report.json` | What was checked |

## Parameters

| Parameter | Template Variable | Default | Description |
|---|---|---|---|
| Shop | `{{shop}}` | `north` | Which shop |

## Dependencies

| Dependency | Type | Required | Description |
|---|---|---|---|
| curl | tool | yes | Fetches the orders |

## Step 1: Environment Setup

```bash
mkdir -p /app/results /app/work
curl -H "Authorization: $SHOP_TOKEN" https://shop.example/orders > /app/work/orders.json
```

## Step 2: Count

```bash
wc -l /app/work/orders.json > /app/results/report.md
```

## Step 3: Evaluate Outputs

| Status | Criteria |
|---|---|
| PASS | The count is there |
| FAIL | It is not |

## Step 4: Iterate on Errors (max 3 rounds)

Mend what Step 3 found.

## Step 5: Write Validation Report

```json
{"version": "1.0.0", "stages": [], "results": {"pass": 1}, "overall_passed": true}
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

- [ ] `report.md` has the count

## Tips

- The shop is slow at night.
"""

V2 = """\
---
version: 1.0.0
evaluation: programmatic
agent: claude-code
model: claude-sonnet-4-6
primary_outputs:
  - report.md
---
# Orders — Agent Runbook

## Objective

Count the orders of {{shop}}.

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `{{results_dir}}/report.md` | The counts |
| `{{results_dir}}/summary.md` | Three sentences |
| `{{results_dir}}/validation_report.json` | What was checked |

## Parameters

| Parameter | Template Variable | Default | Description |
|---|---|---|---|
| Results directory | `{{results_dir}}` | `/app/results` | Where results go |
| Shop | `{{shop}}` | `north` | Which shop |

## Dependencies

None but curl.

## Step 1: Count

Write the count to `{{results_dir}}/report.md`.

## Step 2: Evaluate Outputs

The count is a number.

## Step 3: Iterate on Errors (max 3 rounds)

Mend what Step 2 found.

## Step 4: Code Checks

### outputs-exist — Every required file is there

```bash
test -s "{{results_dir}}/report.md"
test -s "{{results_dir}}/summary.md"
```

### report-counts — The report has a number

```yaml
use: regex_present
path: report.md
pattern: "[0-9]+"
```

## Step 5: Checklist

- [ ] The summary says what is odd

## Step 6: Write Validation Report

```json
{"version": 2, "verdict": "pass", "overall_passed": true, "checks": [{"kind": "step", "id": "count", "status": "pass"}]}
```

## Tips

- The shop is slow at night.
"""


@pytest.fixture
def v1() -> str:
    """A v1 runbook nothing is wrong with."""
    return V1


@pytest.fixture
def v2() -> str:
    """A v2 runbook nothing is wrong with."""
    return V2


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a runbook into a folder of its own, byte for byte."""

    def to_file(text: str | bytes, name: str = "RUNBOOK.md") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return to_file
