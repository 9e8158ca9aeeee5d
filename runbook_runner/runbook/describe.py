"""Room `runbook`: everything that is read from a document, as plain values with stable names (`runbook show`)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from runbook_runner.runbook.criteria.code_checks import with_builtin
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.mission import undeclared
from runbook_runner.runbook.parts.outputs import output_lines

_TYPED_BELOW = ("secrets", "mcp_servers", "origin", "code_checks", "raw", "repeated")


def describe(runbook: Runbook) -> dict[str, Any]:
    """JSON values only; every piece has its `line`. The keys are part of the command line's contract.

    Raises InputError when `code_checks:` or `mcp_servers:` of the frontmatter is malformed.
    """
    return {
        "source": runbook.source,
        "title": runbook.title,
        "generation": runbook.generation,
        "unread_from": runbook.outline.cut_line,
        "frontmatter": _frontmatter(runbook),
        "parameters": plain(runbook.parameters),
        "outputs": _outputs(runbook),
        "primary_outputs": plain(runbook.primary_outputs),
        "secrets": _secrets(runbook),
        "sections": [
            {"level": s.level, "title": s.title, "line": s.line, "end_line": s.end_line} for s in runbook.sections
        ],
        "steps": plain(runbook.steps),
        "evaluation": {
            "pattern": runbook.frontmatter.evaluation,
            "rubric": plain(runbook.rubric),
            "statuses": plain(runbook.statuses),
            "iteration_bounds": plain(runbook.iteration_bounds),
            "common_fixes": plain(runbook.common_fixes),
        },
        "code_checks": [
            {**plain(with_builtin(check, runbook.source)), "counts": check.counts} for check in runbook.code_checks
        ],
        "checks_config": plain(runbook.checks_config),
        "checklist": plain(runbook.checklist),
        "verification": plain(runbook.verification),
        "mcp_servers": plain(runbook.mcp_servers),
        "origin": plain(runbook.origin),
        "undeclared": plain(undeclared(runbook)),
    }


def plain(value: Any) -> Any:
    """Dataclasses, named tuples, models, tuples and mappings as JSON has them; a number JSON can't write as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _frontmatter(runbook: Runbook) -> dict[str, Any]:
    """The typed keys that have no part of their own."""
    values: dict[str, Any] = plain(runbook.frontmatter)
    return {key: value for key, value in values.items() if key not in _TYPED_BELOW}


def _outputs(runbook: Runbook) -> list[dict[str, Any]]:
    lines = output_lines(runbook.outline)
    return [{**plain(output), "line": lines[output.path]} for output in runbook.outputs]


def _secrets(runbook: Runbook) -> list[dict[str, Any]]:
    front = runbook.frontmatter
    return [{**plain(secret), "line": front.lines[f"secrets.{secret.name}"]} for secret in front.secrets]
