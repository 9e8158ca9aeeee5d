"""Evaluation: reads `validation_report.json`, v1 (contract §3.9) and v2 (§3.10)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_runner.core.formats.json_toml import plain_json

REPORT = "validation_report.json"
MAX_BYTES = 10 << 20
_MOST_REASONS = 50
_LONGEST_REASON = 1000  # characters
_GOOD = ("pass", "skipped")


@dataclass(frozen=True)
class Report:
    body: dict[str, Any]
    passed: bool | None
    """`None`: the report does not say it."""
    reasons: tuple[str, ...] = ()


def read_report(results: Path) -> Report | str | None:
    """The report, or why it can't be used, or `None` when there is none."""
    path = results / REPORT
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        return f"{REPORT} is larger than {MAX_BYTES >> 20} MB."
    try:
        body = plain_json(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        return f"{REPORT} is not JSON."
    if not isinstance(body, dict):
        return f"{REPORT} is not a JSON object."
    return _v2(body) if body.get("version") == 2 and body.get("version") is not True else _v1(body)


def _v1(body: dict[str, Any]) -> Report:
    """Only `overall_passed` is universal; other keys are ignored."""
    passed = body.get("overall_passed")
    if not isinstance(passed, bool):
        return Report(body, None, (f"{REPORT} does not say `overall_passed`.",))
    return Report(body, passed, () if passed else (f"{REPORT} says overall_passed: false.",))


def _v2(body: dict[str, Any]) -> Report:
    """The verdict is computed from the checks; the agent's own verdict is ignored. Skipped is neutral."""
    checks = body.get("checks")
    if not isinstance(checks, list):
        return Report(body, None, (f"{REPORT} has no list of checks.",))
    failed = [check for check in checks if _failed(check)]
    reasons = [_complaint(check)[:_LONGEST_REASON] for check in failed[:_MOST_REASONS]]
    if more := len(failed) - len(reasons):
        reasons.append(f"{more} more checks did not pass.")
    return Report(body, not failed, tuple(reasons))


def _failed(check: Any) -> bool:
    if not isinstance(check, dict) or check.get("status") not in _GOOD:
        return True
    return check.get("kind") == "judge" and _below_threshold(check)


def _complaint(check: Any) -> str:
    """Why a check failed."""
    if not isinstance(check, dict):
        return "A check is not an object."
    name, status = check.get("id") or check.get("name") or "?", check.get("status")
    if check.get("kind") == "judge" and _below_threshold(check):
        return f"{name}: score {check['score']} is below {check['threshold']}."
    return f"{name}: {status}. {check.get('message') or ''}".rstrip()


def _below_threshold(check: dict[str, Any]) -> bool:
    score, threshold = check.get("score"), check.get("threshold")
    return isinstance(score, (int, float)) and isinstance(threshold, (int, float)) and score < threshold
