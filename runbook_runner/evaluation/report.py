"""Evaluation: reads `validation_report.json`, v1 (contract §3.9) and v2 (§3.10)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from runbook_runner.core.formats.json_toml import has_more_values, plain_json
from runbook_runner.core.text import counted

REPORT = "validation_report.json"
MAX_BYTES = 10 << 20
MOST_VALUES = 200_000
"""In all levels; 10 MB may be five million of them."""
_MOST_REASONS = 50
_LONGEST_REASON = 1000  # characters
_BAD_STAGES = ("fail", "failed", "error")


@dataclass(frozen=True)
class Claim:
    """What a v1 report says."""

    passed: bool | None
    """`None`: it does not say it."""
    reasons: tuple[str, ...] = ()


def read_report(results: Path) -> dict[str, Any] | str | None:
    """The report, or why it can't be used, or `None` when there is none."""
    path = results / REPORT
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        return f"it is larger than {MAX_BYTES >> 20} MB."
    try:
        raw = path.read_bytes()
        if has_more_values(raw, MOST_VALUES):
            return f"it has more than {MOST_VALUES:,} values."
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return "it is not JSON."
    if not isinstance(body, dict):
        return "it is not a JSON object."
    plain: dict[str, Any] = plain_json(body)
    return plain


def is_v2(body: dict[str, Any]) -> bool:
    return body.get("version") == 2 and body.get("version") is not True


def claim_of(body: dict[str, Any]) -> Claim:
    """Only `overall_passed` is universal, and decides; `stages`, where they are, tell what failed."""
    passed = body.get("overall_passed")
    if not isinstance(passed, bool):
        return Claim(None, (f"{REPORT} does not say `overall_passed`.",))
    if passed:
        return Claim(passed)
    stages = body.get("stages")
    failed = [stage for stage in stages if _stage_failed(stage)] if isinstance(stages, list) else []
    reasons = (_stage_complaint(stage) for stage in failed)
    return Claim(passed, (f"{REPORT} says overall_passed: false.", *in_short(reasons, len(failed), "stage")))


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


def in_short(reasons: Iterable[str], number: int, what: str) -> Iterator[str]:
    """Yields the first of the reasons, of that number in all, and how many more there are."""
    yield from (reason[:_LONGEST_REASON] for reason in islice(reasons, _MOST_REASONS))
    if (more := number - _MOST_REASONS) > 0:
        yield f"{counted(more, f'more {what}')} did not pass."
