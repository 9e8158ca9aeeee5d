"""Command line: the tree of a run as lines for a terminal, and as JSON."""

from collections.abc import Iterator
from typing import Any, Final

from rich.filesize import decimal
from rich.text import Text

from runbook_runner.core.events import Usage
from runbook_runner.core.text import counted, printable_name, printable_output
from runbook_runner.trajectory.overlay import Overlay
from runbook_runner.trajectory.summary import (
    given_of,
    origin_of,
    reasons_of,
    tree_is_provisional,
    tree_outcome,
    tree_status,
    tree_told,
    usage_of,
)
from runbook_runner.trajectory.tree import Node, Tree

_OUTPUT_LINES: Final = 4
_SAID_LINES: Final = 6
_RESULTS: Final = 20
_REASONS: Final = 20
_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "")}
_PLURALS: Final = {
    "tool": "tool call", "model": "model call", "thinking": "thought", "artifact": "result",
}  # fmt: skip


def lines_of(tree: Tree, overlay: Overlay, *, is_own: bool) -> Iterator[Text]:
    """overlay: what was set since it was recorded. is_own: whether this user's machine made it or brought it here. A
    line whose `no_wrap` is False is read to its end."""
    yield from _head(tree, overlay)
    if not is_own:
        yield Text("came with this folder: you have neither made nor imported it on this machine", style="yellow")
    if origin := origin_of(tree):
        yield Text(printable_name(origin), style="dim")
    if overlay.status:
        held = "" if tree.finished else ", once it is over"
        yield Text(f"status, set later: {overlay.status}{held}", style="dim")
    if given := given_of(tree):
        told = ", ".join(printable_name(f"{key}={value}"[:200]) for key, value in given.items())
        yield Text(f"parameters: {told}", style="dim")
    labels = _labels(tree, overlay)
    if labels:
        told = ", ".join(printable_name(f"{key}={value}"[:200]) for key, value in labels.items())
        yield Text(f"labels: {told}", style="dim")
    for depth, node in tree.walk():
        for line in _lines(node):
            line.pad_left(2 * depth)
            yield line
    yield from _notes(tree)
    yield from _verdict(tree)
    yield from _results(tree)


def step_lines(node: Node) -> Iterator[Text]:
    """All of a step, as far as the tree has it."""
    first, *_ = _lines(node)
    yield first
    yield from (Text(line) for line in printable_output(node.text).splitlines())
    if node.output:
        yield Text("answered:", style="dim")
        yield from (Text(line, style="red" if node.ok is False else "") for line in _all_lines(node.output))


def ending(tree: Tree, overlay: Overlay | None = None) -> Text:
    """How it ended, how long it took and what it used, on one line. overlay: as for `lines_of`."""
    outcome = tree_outcome(tree, overlay)
    style = {"pass": "bold green", "fail": "bold red", "error": "bold red"}.get(outcome, "bold yellow")
    word = "RUNNING, or its process is dead" if outcome == "running" else tree_told(tree, overlay)
    parts = [word] + ([f"{tree.finished.seconds:.1f} s"] if tree.finished else [])
    return Text(" · ".join([*parts, *_used(tree)]), style=style)


def _labels(tree: Tree, overlay: Overlay) -> dict[str, str]:
    return overlay.over_labels(tree.started.labels if tree.started else {})


def _used(tree: Tree) -> Iterator[str]:
    usage = usage_of(tree)
    if usage.api_calls or usage.all_tokens:
        calls = f" in {counted(usage.api_calls, 'call')}" if usage.api_calls else ""
        yield f"{counted(usage.total_tokens, 'token')}{calls}"
    if tree.sources and "provider" not in tree.sources:
        answered = (source.replace("replay", "recording") for source in tree.sources)
        yield f"answered by the {' and the '.join(answered)}"
    elif usage.cost_usd is not None and (usage.api_calls or usage.cost_usd):
        yield f"${usage.cost_usd:.4f}"


def _head(tree: Tree, overlay: Overlay) -> Iterator[Text]:
    run, sandbox = tree.started, tree.sandbox
    if run is None:
        yield Text("The beginning of the event log is damaged or gone.", style="yellow")
    else:
        who = [str(run.init_params[key]) for key in ("agent", "model") if run.init_params.get(key)]
        where = [sandbox.backend + (f" from {sandbox.image}" if sandbox.image else "")] if sandbox else []
        name = printable_name(f"{run.collection}/{run.task} {run.trajectory_id}")
        yield Text.assemble((name, "bold"), *(f" · {printable_name(part)}" for part in (*who, *where)))
    when = f"{tree.began[:19].replace('T', ' ')} UTC" if tree.began else ""
    yield Text.assemble(ending(tree, overlay), (f" · {printable_name(when)}", "dim"))


def _lines(node: Node) -> Iterator[Text]:
    match node.kind:
        case "phase":
            mark, style = _MARKS[node.ok]
            yield Text.assemble((f"{mark} {_one_line(node.title)}", style or "bold"), (_facts(node), "dim"))
        case "message":
            mark = "●" if node.title == "assistant" else f"● ({node.title})"
            first, *more = _first_lines(node.text.strip(), _SAID_LINES)
            yield Text.assemble((_number(node), "dim"), f"{mark} {first}")
            yield from (Text(f"  {line}") for line in more)
        case "thinking":
            first, *more = _first_lines(node.text.strip(), 2)
            yield Text(f"{_number(node)}✻ {first}", style="dim")
            yield from (Text(f"  {line}", style="dim") for line in more)
        case "tool":
            first, *more = _first_lines(node.text, 3)
            took = f" ({node.seconds:.2f} s)" if node.seconds is not None else ""
            called = (f"$ {_one_line(node.title)}", "cyan"), (took, "dim"), (f": {first}", "cyan")
            yield Text.assemble((_number(node), "dim"), *called)
            yield from (Text(f"  {line}", style="cyan") for line in more)
            style = "red" if node.ok is False else "dim"
            yield from (Text(f"  {line}", style=style) for line in _first_lines(node.output.strip(), _OUTPUT_LINES, ()))
        case "model":
            told = f": {_one_line(node.text)}" if node.text else ""
            yield Text(f"↔ {_one_line(node.title)}{told}{_facts(node)}", style="yellow" if told else "dim")
        case "check":
            mark, style = _MARKS[node.ok]
            yield Text.assemble(
                (f"{mark} {_one_line(node.title)}: {_one_line(node.text)}", style), (_facts(node), "dim")
            )
        case "note":
            first, *more = _first_lines(node.text, 3)
            yield Text(f"! {first}", style="red" if node.ok is False else "yellow")
            yield from (Text(f"  {line}", style="red" if node.ok is False else "yellow") for line in more)


def _number(node: Node) -> str:
    return f"{node.step} " if node.step else ""


def _facts(node: Node) -> str:
    parts = [f"{node.seconds:.2f} s"] if node.seconds is not None else []
    if node.usage and (node.usage.all_tokens or node.usage.api_calls):
        parts.append(counted(node.usage.total_tokens, "token"))
        parts += [f"${node.usage.cost_usd:.4f}"] if node.usage.cost_usd else []
    return "".join(f" · {part}" for part in parts)


def _all_lines(text: str) -> list[str]:
    return printable_output(text).expandtabs(4).splitlines()


def _first_lines(text: str, most: int, without: tuple[str, ...] = ("",)) -> list[str]:
    """without: what it returns for a text that has no line."""
    lines = _all_lines(text) or list(without)
    more = len(lines) - most
    return lines[:most] + ([f"… {counted(more, 'more line')}"] if more > 0 else [])


def _one_line(text: str) -> str:
    return " ".join(printable_output(text).split())


def _notes(tree: Tree) -> Iterator[Text]:
    if tree.left_out:
        kinds = (counted(count, _PLURALS.get(kind, kind)) for kind, count in tree.left_out.items())
        yield Text(f"! not shown, for there are too many: {', '.join(kinds)}; --events has all", style="yellow")
    if tree.unknown:
        kinds = (f"{printable_name(kind)} ({count:,})" for kind, count in tree.unknown.most_common(5))
        yield Text(f"! events that this version does not know: {', '.join(kinds)}", style="yellow")
    if tree.gaps:
        yield Text(f"! the event log is damaged: {counted(tree.gaps, 'event')} missing", style="yellow")


def _verdict(tree: Tree) -> Iterator[Text]:
    reasons = reasons_of(tree)
    if tree.finished and tree.finished.error:
        yield Text(f"✗ {printable_output(reasons.pop(0))}", style="red", no_wrap=False)
    if not tree.evaluated:
        return
    yield Text(f"verdict: {tree.evaluated.verdict}", style="bold")
    for found in tree.evaluated.outputs[:_RESULTS]:
        mark, style = _MARKS[found.lack is None]
        what = found.lack or f"{counted(found.files, 'file')}, {decimal(found.bytes)}"
        yield Text(f"  {mark} {printable_name(found.path)}: {what}", style=style)
    for reason in reasons[:_REASONS]:
        yield Text(f"  ✗ {_one_line(reason)}", style="red", no_wrap=False)
    if (more := len(reasons) - _REASONS) > 0:
        yield Text(f"  … {counted(more, 'more reason')}", style="red")
    judge = tree.evaluated.judge
    if isinstance(judge, dict):
        yield Text(f"  judged by {printable_name(str(judge.get('model')))}: {printable_name(str(judge.get('score')))}")


def _results(tree: Tree) -> Iterator[Text]:
    files = sorted(tree.artifacts.values(), key=lambda one: (one.primary is None, one.primary or 0))
    for file in files[:_RESULTS]:
        note = "  (primary)" if file.primary is not None else ""
        yield Text(f"{printable_name(file.path)}  {decimal(file.size)}{note}")
    if (more := len(files) + tree.left_out["artifact"] - _RESULTS) > 0:
        yield Text(f"… {counted(more, 'more result')}, see `runbook runs files`", style="dim")


def tree_json(tree: Tree, overlay: Overlay) -> dict[str, Any]:
    run, end, found = tree.started, tree.finished, tree.evaluated
    return {
        "trajectory_id": run.trajectory_id if run else None,
        "collection": run.collection if run else None,
        "task": run.task if run else None,
        "agent": run.init_params.get("agent") if run else None,
        "model": run.init_params.get("model") if run else None,
        "outcome": tree_outcome(tree, overlay),
        "status": tree_status(tree, overlay),
        "parameters": given_of(tree),
        "labels": _labels(tree, overlay),
        "origin": run.origin if run else None,
        "rerun_of": run.rerun_of if run else None,
        "replay": run.replay.model_dump() if run and run.replay else None,
        "error": end.error if end else None,
        "began": tree.began,
        "seconds": end.seconds if end else None,
        "sandbox": tree.sandbox.model_dump(exclude={"type"}) if tree.sandbox else None,
        "verdict": found.verdict if found else None,
        "provisional": tree_is_provisional(tree),
        "reasons": list(found.reasons) if found else [],
        "required_outputs": [one.model_dump() for one in found.outputs] if found else [],
        "judge": found.judge if found else None,
        "usage": _usage_json(usage_of(tree)),
        "judge_usage": _usage_json(tree.judge_usage),
        "model_calls": dict(tree.sources),
        "results": [{"path": a.path, "size": a.size, "content_type": a.content_type} for a in tree.artifacts.values()],
        "events": tree.events,
        "counts": dict(tree.counts),
        "left_out": dict(tree.left_out),
        "unknown_events": dict(tree.unknown),
        "missing_events": tree.gaps,
        "nodes": [node_json(node) for node in tree.nodes],
    }


def node_json(node: Node) -> dict[str, Any]:
    every = {
        "kind": node.kind, "title": node.title, "seq": node.seq, "ts": node.ts, "step": node.step, "text": node.text,
        "input": node.input, "output": node.output, "seconds": node.seconds, "ok": node.ok,
        "usage": _usage_json(node.usage) if node.usage else None,
        "nodes": [node_json(child) for child in node.children],
    }  # fmt: skip
    return {key: value for key, value in every.items() if value not in (None, "", {}, [])}


def _usage_json(usage: Usage) -> dict[str, Any]:
    return usage.model_dump()
