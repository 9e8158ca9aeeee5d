"""What `check` says of the programs of our snapshots (RB701) is true of their images."""

from typing import Any

import pytest

from runbook_runner.runbook.check.rules.frontmatter import SNAPSHOTS
from runbook_runner.runbook.check.rules.sandbox import PACKAGES, SOME_HAVE

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(900)]

MISSION = """\
---
agent: shell
snapshot: {snapshot}
---
# Look — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/found.txt` | The programs that are there |

## Step 1: Look

```bash
for program in bash {programs}; do
  if command -v "$program" > /dev/null; then echo "$program"; fi
done > /app/results/found.txt
```
"""


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_programs_that_a_snapshot_is_said_to_lack_are_not_there(snapshot: str, runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(MISSION.format(snapshot=snapshot, programs=" ".join(PACKAGES)))
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--json", timeout=800)
    assert ran.code == 0, ran.err
    found = (ran.folder / "results/found.txt").read_text().split()
    assert found == ["bash", *sorted(program for name, program in SOME_HAVE if name == snapshot)]
