"""The report of a run whose checks the engine runs: every row of the algorithm (contract §3.10)."""

from typing import Any

import pytest

from runbook_runner.core.criteria import Criteria
from runbook_runner.evaluation.entries import Check
from runbook_runner.evaluation.merge import merged
from runbook_runner.runbook.document import parse

TEXT = """\
# T

## Objective

Work.

## Code Checks

### ours — The engine's

```bash
true
```

### theirs — The agent's

```bash executor=agent
true
```

### broken — Nobody's

```ruby
puts 1
```
"""
CRITERIA = parse(f'---\nversion: "1"\n---\n{TEXT}').criteria
STRICT = parse(f"---\nstrict_evaluation: true\n---\n{TEXT}").criteria


def own(name: str, status: Any = "pass") -> Check:
    return Check(kind="code_check", id=name, status=status, details={"runner": "jetty"})


OURS = (own("ours"), own("broken", "error"))


def said(*checks: Any, **keys: Any) -> dict[str, Any]:
    return {"version": 2, "checks": list(checks), **keys}


def entry(kind: str, name: str, status: str = "pass", **keys: Any) -> dict[str, Any]:
    return {"kind": kind, "id": name, "status": status, **keys}


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in report["checks"]}


@pytest.mark.parametrize(
    ("report", "platform", "criteria", "expected"),
    [
        (said(), [own("ours")], CRITERIA, {"ours": "pass", "theirs": "skipped"}),
        (said(), [own("ours")], STRICT, {"ours": "pass", "theirs": "error"}),
        (said(), [own("ours", "fail")], CRITERIA, {"ours": "fail", "theirs": "skipped"}),
        (said(), OURS, CRITERIA, {"ours": "pass", "broken": "error", "theirs": "skipped"}),
        (said(entry("code_check", "ours")), [own("ours", "fail")], CRITERIA, {"ours": "fail", "theirs": "skipped"}),
        (said(entry("code_check", "theirs")), [], STRICT, {"theirs": "pass"}),
        (said(entry("code_check", "theirs", "fail")), [], CRITERIA, {"theirs": "fail"}),
        (said(entry("code_check", "invented")), [], CRITERIA, {"theirs": "skipped"}),
        (said(entry("checklist", "ours")), [own("ours")], CRITERIA, {"ours": "pass", "theirs": "skipped"}),
        (said(entry("step", "setup"), entry("judge", "clarity", score=2, threshold=3)), [], CRITERIA,
         {"setup": "pass", "clarity": "fail", "theirs": "skipped"}),
        (said(entry("judge", "clarity", threshold=3), entry("judge", "wit", score=3, threshold=3)), [], Criteria(),
         {"clarity": "error", "wit": "pass"}),
        (said(7, entry("step", "x", "maybe"), {"kind": "dream", "id": "y", "status": "pass"}), [], CRITERIA,
         {"entry-1": "error", "x": "error", "y": "error", "theirs": "skipped"}),
        (None, [own("ours")], CRITERIA, {"report": "error", "ours": "pass", "theirs": "skipped"}),
        ("it is not JSON.", [own("ours")], CRITERIA, {"report": "error", "ours": "pass", "theirs": "skipped"}),
        ({"overall_passed": True}, [own("ours")], CRITERIA, {"report": "error", "ours": "pass", "theirs": "skipped"}),
        (said(entry("code_check", "any", "fail")), [], Criteria(), {"any": "fail"}),
    ],
)  # fmt: skip
def test_each_row_of_the_algorithm(report: Any, platform: Any, criteria: Criteria, expected: dict[str, str]) -> None:
    body, entries = merged(report, criteria, platform)
    assert statuses(body) == expected
    passed = not set(expected.values()) & {"fail", "error"}
    assert (body["version"], body["overall_passed"], body["verdict"]) == (2, passed, "pass" if passed else "fail")
    assert [check.id for check in entries] == [check["id"] for check in body["checks"]]


def test_the_platform_s_entry_stands_where_the_agent_s_was() -> None:
    report = said(entry("step", "setup"), entry("code_check", "ours"), entry("checklist", "last"))
    body, _ = merged(report, CRITERIA, [own("ours", "fail")])
    assert [(check["id"], check.get("details")) for check in body["checks"]] == [
        ("setup", None),
        ("ours", {"runner": "jetty"}),
        ("last", None),
        ("theirs", None),
    ]


def test_what_else_the_agent_says_stays_but_not_its_verdict() -> None:
    report = said(
        entry("step", "setup", "fail", note="mine"), run_date="2026-01-01", verdict="pass", overall_passed=True
    )
    body, _ = merged(report, Criteria(), [])
    assert (body["run_date"], body["verdict"], body["overall_passed"]) == ("2026-01-01", "fail", False)
    assert body["checks"][0]["note"] == "mine"


def test_the_mirrors_of_v1_follow_from_the_checks() -> None:
    report = said(
        entry("step", "setup", message="done"),
        entry("step", "work", "fail", message="broken"),
        entry("judge", "clarity", score=4, threshold=3, message="clear"),
        entry("judge", "depth", score=2.5, threshold=3, message="thin"),
        stages=[{"name": "invented", "passed": True}],
        results={"pass": 99},
        rubric_scores={"x": 5},
        overall_score=5,
    )
    body, _ = merged(report, CRITERIA, [])
    assert body["stages"] == [
        {"name": "setup", "passed": True, "message": "done"},
        {"name": "work", "passed": False, "message": "broken"},
    ]
    assert body["results"] == {"pass": 2, "partial": 1, "fail": 2}
    assert body["overall_score"] == 3.25
    assert body["rubric_scores"]["depth"] == {"score": 2.5, "notes": "score 2.5 is below 3. thin"}


@pytest.mark.parametrize("key", ["score", "max_score", "threshold"])
@pytest.mark.parametrize("value", [1e308, -1e308, 10**400])
def test_a_score_too_large_to_be_averaged_makes_its_entry_malformed(key: str, value: float) -> None:
    judges = [entry("judge", name, **{"score": 3, key: value}) for name in ("a", "b")]
    report, _ = merged(said(*judges, entry("judge", "c", score=1e9)), CRITERIA, OURS)
    assert (statuses(report)["a"], statuses(report)["c"], report["overall_score"]) == ("error", "pass", 1e9)
