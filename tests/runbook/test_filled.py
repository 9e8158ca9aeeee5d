import pytest

from runbook_runner.runbook.document import parse
from runbook_runner.runbook.filled import Filled

TEXT = """---
version: 1.0.0
secrets:
  KEY: {env: THE_KEY}
---
# T

## Required output files

| File | Description |
|---|---|
| `{{results_dir}}/{{a}}/x.md` | About {{a}} |
| `{{dir}}/y.md` | Y |

## Step {{n}}: Work on {{a}}

{{a}}

```bash
echo {{a}} $KEY {{secrets.KEY}}
```

## Step 9: Evaluate

| Criterion | Weight | 5 (Good) |
|---|---|---|
| Depth of {{a}} | {{n}}% | all of {{a}} |

Every criterion must be at least {{n}}.

## Code Checks

### size — Enough of {{a}}

```yaml
use: min_size
path: {{results_dir}}/{{a}}.md
bytes: {{n}}
```

### code — {{a}}

```bash
echo {{a}}
```

### sum — Sum

```bash
echo $(({{a}}))
```

## Checklist

- [ ] {{a}} is done

## Step 10: Last

```bash
echo last
```
"""
STRUCTURE = "a | b\n```\n\n## Step 0: Other\n\n```bash\necho other\n```\n\n## Checklist\n\n- [ ] other\n"


def filled(**values: object) -> Filled:
    return Filled(parse(TEXT), {"n": 3, "dir": "/app/results/d", **values})


@pytest.mark.parametrize("value", ["plain", "O'Brien & Co", STRUCTURE, "- [ ] x", "# x", "---", "| x |", "1. x", ""])
def test_a_value_adds_and_removes_nothing(value: str) -> None:
    it = filled(a=value)
    assert value in it.mission
    assert [block.line for block in it.blocks] == [19, TEXT.count("\n") - 2]
    assert it.blocks[0].heading == f"Step 3: Work on {' '.join(value.split())}".rstrip()
    assert it.blocks[1].code == "echo last\n"
    assert it.outputs[-1].path == "d/y.md"
    assert [item.text for item in it.criteria.checklist] == [f"{value} is done"]
    assert [(c.name, c.weight) for c in it.criteria.rubric.criteria] == [(f"Depth of {value}", 0.03)]
    assert it.criteria.rubric.minimum == 3
    size = it.criteria.code_checks[0]
    assert (size.builtin.bytes, size.builtin.files, size.problem) == (3, f"/app/results/{value}.md", "")


def test_paths_and_ids_are_made_of_the_filled_text() -> None:
    it = filled(a="Acme Inc")
    assert [(output.path, output.description) for output in it.outputs] == [
        ("Acme Inc/x.md", "About Acme Inc"),
        ("d/y.md", "Y"),
    ]
    assert it.criteria.checklist[0].id == "acme-inc-is-done"
    assert it.criteria.rubric.criteria[0].id == "depth-of-acme-inc"


def test_code_gets_quoted_values_and_a_check_that_can_not_has_a_problem() -> None:
    it = filled(a="O'Brien; true")
    quoted = "'O'\"'\"'Brien; true'"
    assert it.blocks[0].code == f"echo {quoted} $KEY $THE_KEY\n"
    _, code, total = it.criteria.code_checks
    assert (code.code, code.problem) == (f"echo {quoted}\n", "")
    assert "in arithmetic" in total.problem
