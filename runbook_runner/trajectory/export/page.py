"""Trajectory: a run as one HTML page, for people: it needs no server, no script and no other file, and loads nothing.

All that it shows comes from elsewhere: it is escaped, free of characters that turn or hide what follows, and once more
cleaned of what looks like a key."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from runbook_runner.core.events import Artifact, Recorded, Usage
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.text import counted, dollars, printable
from runbook_runner.trajectory.tree import Tree, reasons_of, tree_of, tree_outcome

if TYPE_CHECKING:
    from jinja2 import Template

_MOST_INSTRUCTION: Final = 200_000
_FIRST_LINE: Final = 120


def write_page(events: Iterable[Recorded], out: IO[bytes]) -> None:
    for piece in _template().generate(_shown(tree_of(events))):
        out.write(piece.encode("utf-8", "backslashreplace"))


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"used": _used, "first_line": _first_line, "as_json": _as_json}
    return environment.get_template("page.html")


_CLEAN: Final = Redactor()


def _safe(value: Any) -> Any:
    """What a template prints; text that is marked as safe is markup that it has made itself."""
    return printable(_CLEAN.clean(value)) if type(value) is str else value


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _FIRST_LINE else f"{line[:_FIRST_LINE]}…"


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _used(usage: Usage) -> str:
    tokens = counted(usage.all_tokens, "token")
    return tokens if usage.cost_usd is None else f"{tokens}, {dollars(round(usage.cost_usd, 4))}"


def _shown(tree: Tree) -> dict[str, Any]:
    run = tree.started
    instruction = str(run.init_params.get("instruction") or "") if run else ""
    if len(instruction) > _MOST_INSTRUCTION:
        instruction = f"{instruction[:_MOST_INSTRUCTION]}…"
    return {
        "tree": tree,
        "name": f"{run.collection}/{run.task}" if run else "a run",
        "id": run.trajectory_id if run else "",
        "outcome": tree_outcome(tree) if tree.finished else "not ended",
        "reasons": reasons_of(tree)[:100],
        "rows": [row for row in _rows(tree) if row[1]],
        "instruction": instruction,
        "missing": list(_missing(tree)),
        "final": tree.agent_end.text[:_MOST_INSTRUCTION] if tree.agent_end else "",
        "results": [(kind, [*files]) for kind, files in groupby(_results(tree), _kind)],
    }


def _rows(tree: Tree) -> Iterator[tuple[str, str | None]]:
    run, agent, box = tree.started, tree.agent, tree.sandbox
    yield "Trajectory", run.trajectory_id if run else None
    yield "Recorded", run.origin if run else None
    yield "Began", tree.began
    yield "Took", f"{tree.finished.seconds:.1f} s" if tree.finished else None
    yield "Agent", " ".join(filter(None, (agent.agent, agent.version))) if agent else None
    yield "Model", agent.model if agent else None
    yield "Sandbox", " ".join(filter(None, (box.backend, box.image))) if box else None
    usage = tree.usage if tree.usage.api_calls else tree.agent_end.usage if tree.agent_end else None
    yield "Used", _used(usage) if usage else None
    if usage:
        parts = {
            "input": usage.prompt_tokens,
            "from the cache": usage.cache_read_tokens,
            "into the cache": usage.cache_write_tokens,
            "output": usage.completion_tokens,
        }
        yield "Tokens", ", ".join(f"{number:,} {name}" for name, number in parts.items() if number)
    yield "Judge", _used(tree.judge_usage) if tree.judge_usage.api_calls else None
    yield "Labels", ", ".join(f"{key}={value}" for key, value in run.labels.items()) if run else None


def _missing(tree: Tree) -> Iterator[str]:
    left_out = ", ".join(f"{number:,} of kind {kind}" for kind, number in tree.left_out.items())
    if left_out:
        yield f"The run is longer than this page. Not shown: {left_out}."
    if tree.gaps:
        yield f"The log is damaged: {counted(tree.gaps, 'event')} missing."


def _results(tree: Tree) -> list[Artifact]:
    results = [artifact for artifact in tree.artifacts.values() if artifact.kind == "result"]
    return sorted(results, key=lambda artifact: (_kind(artifact), artifact.path))


def _kind(artifact: Artifact) -> str:
    return artifact.content_type.partition(";")[0]
