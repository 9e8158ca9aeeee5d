"""The spec of a run says how the run is judged, so that another machine can judge it."""

from pathlib import Path

from runbook_runner.core.spec import RunSpec
from runbook_runner.runbook.document import parse
from runbook_runner.runner import RunRequest
from runbook_runner.runner.request.resolve import resolve

TEXT = """---
version: 1.0.0
evaluation: rubric
agent: shell
{front}---
# Orders

## Step 1: Work

```bash
true
```

## Step 2: Evaluate

| Criterion | 5 (Good) | 1 (Bad) |
|---|---|---|
| Facts | all right | all wrong |

| Status | Criteria |
|---|---|
| PASS | all there |

## Code Checks

### report — The report is there

```yaml
use: min_size
path: "{{{{results_dir}}}}/report.md"
bytes: 10
```

### broken — Not a check

```yaml
use: nothing
```

## Checklist

- [ ] It is done

### Verification Script

```bash
echo "FINAL OUTPUT VERIFICATION"
```
"""


def spec_of(front: str = "") -> RunSpec:
    return resolve(parse(TEXT.format(front=front)), RunRequest("-"))


def test_a_spec_carries_everything_its_run_is_judged_by(tmp_path: Path) -> None:
    criteria = spec_of("code_checks:\n  timeout_sec: 7\n").criteria
    assert criteria.rubric
    assert [criterion.name for criterion in criteria.rubric.criteria] == ["Facts"]
    assert [status.name for status in criteria.statuses] == ["PASS"]
    assert [item.text for item in criteria.checklist] == ["It is done"]
    report, broken = criteria.code_checks
    assert report.builtin
    assert (report.builtin.files, report.builtin.bytes) == ("/app/results/report.md", 10)
    assert broken.builtin is None
    assert "nothing" in broken.problem
    assert criteria.checks.timeout_s == 7
    assert criteria.problem == ""
    assert criteria.verification
    assert "FINAL OUTPUT" in criteria.verification.code


def test_a_spec_reads_back_with_its_criteria_and_they_are_not_in_its_digest() -> None:
    spec = spec_of()
    again = RunSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    bare = spec.model_dump()
    del bare["criteria"]
    assert RunSpec.model_validate(bare).digest() == spec.digest()


def test_malformed_code_checks_do_not_stop_a_run() -> None:
    criteria = spec_of("code_checks:\n  timeout_sec: soon\n").criteria
    assert criteria.code_checks == ()
    assert "timeout_sec" in criteria.problem
