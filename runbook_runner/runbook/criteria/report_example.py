"""Room `runbook`: the `validation_report.json` of v2 (contract §3.10) as a runbook shows it to its agent."""

import json
from collections.abc import Collection, Sequence

from runbook_runner.core.criteria import ChecklistItem, Rubric


def report_example(steps: Sequence[tuple[str, str]], checklist: Sequence[ChecklistItem], rubric: Rubric | None) -> str:
    """JSON text, one check a line. It holds what the agent reports; the platform adds the code checks it runs.

    steps: id and name of each.
    """
    checks = [_check("step", *step) for step in steps]
    checks += [_check("checklist", item.id, item.text) for item in checklist]
    if rubric:
        checks += [_judge(criterion.id, criterion.name, rubric.minimum) for criterion in rubric.criteria]
    return _report(checks, rubric)


def block_report(
    steps: Sequence[tuple[str, str]], checklist: Sequence[ChecklistItem], idle: Collection[tuple[str, str]]
) -> str:
    """The same for an agent that only runs code blocks, whose last one writes this text: it claims no more than that
    all blocks before it have succeeded.

    idle: the steps without a block.
    """
    checks = [_skipped("step", *step, "It has no block.") if step in idle else _check("step", *step) for step in steps]
    checks += [_skipped("checklist", item.id, item.text, "Nobody has looked at it.") for item in checklist]
    return _report(checks, None)


def _report(checks: Sequence[str], rubric: Rubric | None) -> str:
    lines = [
        '"version": 2',
        '"run_date": "2026-01-01T00:00:00Z"',
        '"parameters": {}',
        '"verdict": "pass"',
        '"overall_passed": true',
        '"iterations": 1',
        *([f'"overall_score": 4.5,\n  "pass_threshold": {json.dumps(rubric.average)}'] if rubric else []),
        '"checks": [\n    ' + ",\n    ".join(checks) + "\n  ]",
        '"output_files": []',
    ]
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"


def _check(kind: str, check_id: str, name: str) -> str:
    return _json({"kind": kind, "id": check_id, "name": name, "status": "pass", "message": "…"})


def _skipped(kind: str, check_id: str, name: str, why: str) -> str:
    return _json({"kind": kind, "id": check_id, "name": name, "status": "skipped", "message": why})


def _judge(check_id: str, name: str, threshold: float) -> str:
    judge = {"kind": "judge", "id": check_id, "name": name, "status": "pass", "score": 4, "max_score": 5}
    whole = int(threshold) if threshold == int(threshold) else threshold
    return _json({**judge, "threshold": whole, "message": "…"})


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)
