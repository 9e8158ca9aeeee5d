"""Trajectory: a run as one HTML page, for people: it needs no server, no script and no other file, and loads nothing.

All that it shows comes from elsewhere: it is escaped, free of characters that turn or hide what follows, and once more
cleaned of what looks like a key. Folders of the machine that it ran on are shown as the agent's own, `/app`."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from runbook_runner.core.events import Artifact, Recorded, Usage
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import APP
from runbook_runner.core.text import counted, dollars, printable, size_shown
from runbook_runner.trajectory.export.texts import Shown, texts_of
from runbook_runner.trajectory.overlay import Overlay
from runbook_runner.trajectory.summary import given_of, origin_of, reasons_of, tree_outcome, tree_told, usage_of
from runbook_runner.trajectory.tree import Node, Tree, tree_of

if TYPE_CHECKING:
    from jinja2 import Environment

_MOST_INSTRUCTION: Final = 200_000
_FIRST_LINE: Final = 120
_LONGEST_VALUE: Final = 500


def write_page(
    events: Iterable[Recorded], out: IO[bytes], folder: Path | None = None, overlay: Overlay | None = None
) -> None:
    """folder: of the trajectory, without links in it; its results that are text are on the page. overlay: what was set
    later."""
    tree = tree_of(events)
    environment = _environment(_with_app(tree))
    for piece in environment.get_template("page.html").generate(_shown(tree, folder, overlay or Overlay())):
        out.write(piece.encode("utf-8", "backslashreplace"))


def _environment(finalize: Callable[[Any], Any]) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = {"used": _used, "as_json": _as_json, "when": _when, "took": _took}
    environment.globals |= {**functions, "size": size_shown, "ended_badly": _ended_badly}
    environment.globals["first_line"] = lambda text: _first_line(finalize(text))
    return environment


_CLEAN: Final = Redactor()


_A_FOLDER: Final = re.compile(r"(/[\w.@+-]{1,100}){2,20}")


def _with_app(tree: Tree) -> Callable[[Any], Any]:
    """What is done to all that the template prints; text that is marked as safe is markup that it has made itself."""
    app = tree.sandbox.app if tree.sandbox else APP
    place = re.compile(rf"{re.escape(app)}(?![\w.@+-])") if app != APP and _A_FOLDER.fullmatch(app) else None

    def safe(value: Any) -> Any:
        if type(value) is not str:
            return value
        return printable(_CLEAN.clean(place.sub(APP, value) if place else value))

    return safe


def _when(ts: str) -> str:
    """`30 November 2026, 09:00:58 UTC`; what is not a time stays as it is."""
    try:
        moment = datetime.fromisoformat(ts)
    except ValueError:
        return ts
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC"


def _took(seconds: float) -> str:
    if not 60 <= seconds < 1e9:  # a log of others may say anything
        return "under 0.1 s" if seconds < 0.05 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _ended_badly(node: Node) -> str:
    """Of a phase that did not go well."""
    return "the verdict is fail" if node.title == "evaluate" else "failed"


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _FIRST_LINE else f"{line[:_FIRST_LINE]}…"


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _used(usage: Usage) -> str:
    tokens = counted(usage.total_tokens, "token")
    return tokens if usage.cost_usd is None else f"{tokens}, {dollars(round(usage.cost_usd, 4))}"


def _shown(tree: Tree, folder: Path | None, overlay: Overlay) -> dict[str, Any]:
    run = tree.started
    instruction = str(run.init_params.get("instruction") or "") if run else ""
    if len(instruction) > _MOST_INSTRUCTION:
        instruction = f"{instruction[:_MOST_INSTRUCTION]}…"
    results = list(texts_of(folder, _results(tree)))
    return {
        "tree": tree,
        "name": f"{run.collection}/{run.task}" if run else "a run",
        "id": run.trajectory_id if run else "",
        "outcome": tree_outcome(tree, overlay),
        "told": tree_told(tree, overlay) if tree.finished else "NOT ENDED",
        "reasons": reasons_of(tree)[:100],
        "began": tree.began,
        "rows": [row for row in _rows(tree, overlay) if row[1]],
        "instruction": instruction,
        "missing": list(_missing(tree)),
        "final": _final(tree),
        "results": results,
        "is_shown": _is_shown(results),
    }


def _final(tree: Tree) -> str:
    """The agent's last message, when the tree does not have it anyway."""
    text = tree.agent_end.text[:_MOST_INSTRUCTION] if tree.agent_end else ""
    said = (node.text for _, node in tree.walk() if node.kind == "message")
    return "" if any(text.strip() == one.strip() for one in said) else text


def _is_shown(results: list[Shown]) -> Callable[[Artifact], bool]:
    """Whether a result is open from the start: the primary outputs, and else the first text."""
    texts = [one.file.path for one in results if one.text is not None]
    primary = [one.file.path for one in results if one.text is not None and one.file.primary is not None]
    opened = set(primary or texts[:1])
    return lambda file: file.path in opened


def _rows(tree: Tree, overlay: Overlay) -> Iterator[tuple[str, str | None]]:
    run, agent, box = tree.started, tree.agent, tree.sandbox
    yield "Trajectory", run.trajectory_id if run else None
    yield "From", origin_of(tree)
    yield "Took", _took(tree.finished.seconds) if tree.finished else None
    yield "Parameters", ", ".join(f"{_value(key)} = {_value(value)}" for key, value in given_of(tree).items())
    yield "Agent", " ".join(filter(None, (agent.agent, agent.version))) if agent else None
    yield "Model", agent.model if agent else None
    yield "Sandbox", " ".join(filter(None, (box.backend, box.image))) if box else None
    usage = usage_of(tree)
    is_known = usage.api_calls or usage.all_tokens or usage.cost_usd
    yield "Used", _used(usage) if is_known else None
    if is_known:
        parts = {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "from the cache": usage.cache_read_tokens,
            "into the cache": usage.cache_write_tokens,
        }
        yield "Tokens", ", ".join(f"{number:,} {name}" for name, number in parts.items() if number)
    judge = tree.evaluated.judge if tree.evaluated and isinstance(tree.evaluated.judge, dict) else {}
    yield "Score", f"{_value(judge.get('score'))} by {_value(judge.get('model'))}" if judge.get("score") else None
    yield "Judge used", _used(tree.judge_usage) if tree.judge_usage.api_calls else None
    labels = overlay.over_labels(run.labels if run else {})
    yield "Labels", ", ".join(f"{key} = {value}" for key, value in labels.items())
    yield "Status, set later", overlay.status


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _missing(tree: Tree) -> Iterator[str]:
    left_out = ", ".join(f"{number:,} of kind {kind}" for kind, number in tree.left_out.items())
    if left_out:
        yield f"The run is longer than this page. Not shown: {left_out}."
    if tree.gaps:
        yield f"The log is damaged: {counted(tree.gaps, 'event')} missing."


def _results(tree: Tree) -> list[Artifact]:
    """The primary outputs first."""
    results = [artifact for artifact in tree.artifacts.values() if artifact.kind == "result"]
    return sorted(results, key=lambda file: (file.primary is None, file.primary or 0, file.path))
