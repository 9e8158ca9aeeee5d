"""Evaluation: reads `validation_report.json`, v1 (contract §3.9) and v2 (§3.10)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.text import counted

REPORT = "validation_report.json"
MAX_BYTES = 10 << 20
_MOST_REASONS = 50
_LONGEST_REASON = 1000  # characters
_GOOD = ("pass", "skipped")
_BAD_STAGES = ("fail", "failed", "error")


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
    """Only `overall_passed` is universal, and decides; `stages`, where they are, tell what failed."""
    passed = body.get("overall_passed")
    if not isinstance(passed, bool):
        return Report(body, None, (f"{REPORT} does not say `overall_passed`.",))
    if passed:
        return Report(body, passed)
    stages = body.get("stages")
    failed = [stage for stage in stages if _stage_failed(stage)] if isinstance(stages, list) else []
    reasons = (_stage_complaint(stage) for stage in failed)
    return Report(body, passed, (f"{REPORT} says overall_passed: false.", *_first(reasons, len(failed), "stage")))


def _stage_failed(stage: Any) -> bool:
    return isinstance(stage, dict) and (
        stage.get("passed") is False or any(str(stage.get(key)).lower() in _BAD_STAGES for key in ("status", "result"))
    )


def _stage_complaint(stage: dict[str, Any]) -> str:
    name, said = _told(stage, "name", "stage"), _told(stage, "message", "details")
    return f"{name or '?'}: {said or 'failed.'}"


def _told(stage: dict[str, Any], *keys: str) -> str:
    """The first of these that is there; agents give them other types than the text that they should be."""
    return next((str(stage[key]) for key in keys if stage.get(key)), "")


def _v2(body: dict[str, Any]) -> Report:
    """The verdict is computed from the checks; the agent's own verdict is ignored. Skipped is neutral."""
    checks = body.get("checks")
    if not isinstance(checks, list):
        return Report(body, None, (f"{REPORT} has no list of checks.",))
    failed = [check for check in checks if _failed(check)]
    return Report(body, not failed, tuple(_first(map(_complaint, failed), len(failed), "check")))


def _first(reasons: Iterator[str], number: int, what: str) -> Iterator[str]:
    yield from (reason[:_LONGEST_REASON] for reason in islice(reasons, _MOST_REASONS))
    if (more := number - _MOST_REASONS) > 0:
        yield f"{counted(more, f'more {what}')} did not pass."


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
