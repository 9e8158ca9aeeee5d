"""Trajectory: the events of a run as a tree for people: phases, what the agent said and did in them, its subagents."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Literal

from runbook_runner.core.clock import seconds_between
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentNotice,
    AgentRetried,
    AgentStarted,
    AgentThinking,
    Artifact,
    CheckFinished,
    Evaluated,
    Event,
    Log,
    ModelCalled,
    NetworkConnection,
    PhaseFinished,
    PhaseStarted,
    Recorded,
    Redacted,
    ReplayDiverged,
    RunFinished,
    RunStarted,
    SandboxStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)

MOST_NODES: Final = 5_000
"""The first ones; what comes after them is counted."""
MOST_TEXT: Final = 20_000
"""Characters of one text; the log has all of it."""
_MOST_CHARACTERS = 16_000_000  # of all texts together
_MOST_LEVELS = 50  # of subagents in each other; what is deeper stands beside its caller
_MOST_OPEN = 10_000  # calls that no answer came for, the latest ones

Kind = Literal["phase", "message", "thinking", "tool", "model", "check", "note"]


@dataclass
class Node:
    """Something that happened, with what happened within it."""

    kind: Kind
    title: str
    """One line: the phase, the tool, the model; of a message, who spoke."""
    seq: int
    """Number of the event."""
    ts: str
    text: str = ""
    """What was said, what the tool was asked for or what a check found, shortened to MOST_TEXT."""
    output: str = ""
    """What the tool answered, shortened likewise."""
    input: dict[str, Any] = field(default_factory=dict)
    """Of a tool call; empty when it is too large, and then `text` has its beginning."""
    step: int | None = None
    """From 1, for what the agent says and does in the order of the log; `None` for everything else."""
    seconds: float | None = None
    """`None`: it has no end, or none is known."""
    ok: bool | None = None
    """`None`: it can't fail, or did not end."""
    usage: Usage | None = None
    """Of a model call, and the sum of the agent's in a phase."""
    children: list["Node"] = field(default_factory=list)


@dataclass
class Tree:
    started: RunStarted | None = None
    """`None`: the beginning of the log is gone."""
    began: str | None = None
    last: str | None = None
    """Time of the last event."""
    sandbox: SandboxStarted | None = None
    agent: AgentStarted | None = None
    agent_end: AgentFinished | None = None
    evaluated: Evaluated | None = None
    finished: RunFinished | None = None
    """`None`: it is still running, or its process died."""
    usage: Usage = field(default_factory=Usage)
    """Of the agent's model calls."""
    judge_usage: Usage = field(default_factory=Usage)
    sources: Counter[str] = field(default_factory=Counter)
    """Who answered the agent's model calls → how many."""
    nodes: list[Node] = field(default_factory=list)
    """Phases, and what lies outside of all phases."""
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    """Collected results by path, MOST_NODES at most; the later event about a path counts."""
    steps: int = 0
    events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Kind → all of them, left out or not."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Kind (of nodes, or `artifact`) → how many are not in the tree."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Event types that this version does not know → how often."""
    gaps: int = 0
    """Events that are missing from the log, by their numbers."""

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Yields every node with its depth, parents first."""
        left = [(0, node) for node in reversed(self.nodes)]
        while left:
            depth, node = left.pop()
            yield depth, node
            left += ((depth + 1, child) for child in reversed(node.children))


def tree_of(events: Iterable[Recorded]) -> Tree:
    """Reads all events; what it keeps of them is bounded. Raises nothing of its own."""
    builder = Builder()
    for recorded in events:
        builder.add(recorded)
    return builder.tree


class Builder:
    """For a run that is still going on; see `tree_of`."""

    def __init__(self) -> None:
        self.tree = Tree()
        self._kept = 0
        self._characters = 0
        self._seq = 0
        self._phase: Node | None = None
        self._open: dict[str, tuple[str, Node | None]] = {}
        """Call id → when it was called, and its node when it is in the tree."""
        self._parents: dict[str, tuple[Node, int]] = {}
        """Call id → the node that holds what a subagent of that call does, and its level."""

    def add(self, recorded: Recorded) -> None:
        tree = self.tree
        tree.events += 1
        if self._seq and recorded.seq > self._seq + 1:
            tree.gaps += recorded.seq - self._seq - 1
        self._seq = max(self._seq, recorded.seq)
        tree.began, tree.last = tree.began or recorded.ts, recorded.ts
        apply = _APPLY.get(type(recorded.event))
        if apply:
            apply(self, recorded.event, recorded)
        elif type(recorded.event) not in _SILENT:
            kind = str(getattr(recorded.event, "type", ""))[:100]
            tree.unknown[kind if kind in tree.unknown or len(tree.unknown) < 100 else "others"] += 1

    # --- the run as a whole

    def _started(self, event: RunStarted, _: Recorded) -> None:
        self.tree.started = self.tree.started or event

    def _sandbox(self, event: SandboxStarted, _: Recorded) -> None:
        self.tree.sandbox = event

    def _agent(self, event: AgentStarted, _: Recorded) -> None:
        self.tree.agent = event

    def _agent_end(self, event: AgentFinished, at: Recorded) -> None:
        self.tree.agent_end = event
        if event.error:
            self._put("note", "error", at, text=event.error, ok=False)

    def _evaluated(self, event: Evaluated, _: Recorded) -> None:
        self.tree.evaluated = event

    def _finished(self, event: RunFinished, _: Recorded) -> None:
        self.tree.finished = event

    def _artifact(self, event: Artifact, _: Recorded) -> None:
        if event.kind != "result":
            return
        most = MOST_NODES if event.primary is None else 2 * MOST_NODES
        if event.path in self.tree.artifacts or len(self.tree.artifacts) < most:
            self.tree.artifacts[event.path] = event
        else:
            self.tree.left_out["artifact"] += 1

    # --- what happened in it

    def _phase_started(self, event: PhaseStarted, at: Recorded) -> None:
        self._phase = None
        self._phase = self._put("phase", event.phase, at)

    def _phase_finished(self, event: PhaseFinished, _: Recorded) -> None:
        if self._phase and self._phase.title == event.phase:
            self._phase.seconds, self._phase.ok = event.seconds, event.ok
        self._phase = None

    def _message(self, event: AgentMessage, at: Recorded) -> None:
        if is_step(event):
            self._put("message", event.role, at, text=event.text, parent=event.parent_call_id, counts=True)

    def _thinking(self, event: AgentThinking, at: Recorded) -> None:
        if is_step(event):
            self._put("thinking", "thinking", at, text=event.text, parent=event.parent_call_id, counts=True)

    def _called(self, event: ToolCalled, at: Recorded) -> None:
        node = self._put("tool", event.name, at, text=said_of(event), parent=event.parent_call_id, counts=True)
        if node and len(str(event.input)) <= MOST_TEXT:
            node.input = event.input
        if len(self._open) >= _MOST_OPEN:
            self._open.pop(next(iter(self._open)))
        self._open[event.call_id] = (at.ts, node)
        if node:
            holder, level = self._parents.get(event.parent_call_id or "", (None, 0))
            is_deep = holder is not None and level >= _MOST_LEVELS
            self._parents[event.call_id] = (holder, level) if holder and is_deep else (node, level + 1)

    def _returned(self, event: ToolReturned, at: Recorded) -> None:
        began, node = self._open.pop(event.call_id, (None, None))
        if began is None or node is None:
            return
        node.output, node.ok, node.seconds = self._shortened(event.output), not event.failed, _passed(began, at.ts)

    def _model(self, event: ModelCalled, at: Recorded) -> None:
        node = self._put("model", f"{event.model} ({event.source})", at, text=event.error or "")
        if node:
            node.usage, node.seconds, node.ok = event.usage, event.seconds, event.error is None
        if event.asker == "judge":
            self.tree.judge_usage += event.usage
            return
        self.tree.usage += event.usage
        self.tree.sources[event.source] += 1
        if self._phase:
            self._phase.usage = (self._phase.usage or Usage()) + event.usage

    def _check(self, event: CheckFinished, at: Recorded) -> None:
        node = self._put("check", event.id, at, text=event.message or event.name, ok=event.status == "pass")
        if node:
            node.seconds, node.output = event.seconds, self._shortened(event.output)

    def _log(self, event: Log, at: Recorded) -> None:
        if event.level in ("warning", "error"):
            self._put("note", event.level, at, text=event.message, ok=False if event.level == "error" else None)

    def _retried(self, event: AgentRetried, at: Recorded) -> None:
        self._put("note", "retry", at, text=f"{event.error} The agent is started again in {event.delay_s:.0f} s.")

    def _redacted(self, event: Redacted, at: Recorded) -> None:
        self._put("note", "redacted", at, text=f"{event.where}: removed {event.count} × {event.rule}")

    def _diverged(self, event: ReplayDiverged, at: Recorded) -> None:
        places = ", ".join(difference.path for difference in event.differences)
        whose = "judge" if event.asker == "judge" else "model"
        told = f"{whose} call {event.number} is not as recorded ({event.severity})" + (f": {places}" if places else "")
        self._put("note", "replay", at, text=told)

    # --- how it is kept

    def _put(
        self,
        kind: Kind,
        title: str,
        at: Recorded,
        *,
        text: str = "",
        parent: str | None = None,
        ok: bool | None = None,
        counts: bool = False,
    ) -> Node | None:
        """Returns the new node, which is in the tree; `None` when the tree is full. A phase always gets in."""
        tree = self.tree
        tree.counts[kind] += 1
        tree.steps += counts
        if self._kept >= (2 * MOST_NODES if kind == "phase" else MOST_NODES) or self._characters > _MOST_CHARACTERS:
            tree.left_out[kind] += 1
            return None
        self._kept += 1
        step = tree.steps if counts else None
        node = Node(kind, title[:200], at.seq, at.ts, text=self._shortened(text), step=step, ok=ok)
        above, _ = self._parents.get(parent or "", (self._phase, 0))
        (above.children if above else tree.nodes).append(node)
        return node

    def _shortened(self, text: str) -> str:
        kept = text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
        self._characters += len(kept)
        return kept


def is_step(event: Event) -> bool:
    """Whether it is something that the agent says or does, which has a number."""
    if isinstance(event, AgentMessage | AgentThinking):
        return bool(event.text.strip())
    return isinstance(event, ToolCalled)


def events_of_step(events: Iterable[Recorded], number: int) -> list[Recorded]:
    """The event of a step and, of a tool call, its answer; empty when there are not so many steps. number: as
    `Node.step`, however many steps there are."""
    rest = iter(events)
    steps = (recorded for recorded in rest if is_step(recorded.event))
    found = next(islice(steps, number - 1, None), None)
    if found is None or not isinstance(found.event, ToolCalled):
        return [found] if found else []
    call_id = found.event.call_id
    answers = (one for one in rest if isinstance(one.event, ToolReturned) and one.event.call_id == call_id)
    return [found, *islice(answers, 1)]


def said_of(event: ToolCalled) -> str:
    """The argument that says most about the call, else all arguments."""
    for key in ("command", "code", "file_path", "path", "pattern", "url", "description"):
        value = event.input.get(key)
        if isinstance(value, str):
            return value.strip()
    return str(event.input) if event.input else ""


def _passed(earlier: str, later: str) -> float | None:
    """`None` when one of them is not a time, or the clock went back."""
    try:
        seconds = seconds_between(earlier, later)
    except (ValueError, TypeError):
        return None
    return seconds if seconds >= 0 else None


_SILENT: Final[frozenset[type[Event]]] = frozenset({AgentNotice, NetworkConnection})
_APPLY: Final[dict[type[Event], Callable[[Builder, Any, Recorded], None]]] = {
    RunStarted: Builder._started,
    SandboxStarted: Builder._sandbox,
    AgentStarted: Builder._agent,
    AgentFinished: Builder._agent_end,
    Evaluated: Builder._evaluated,
    RunFinished: Builder._finished,
    Artifact: Builder._artifact,
    PhaseStarted: Builder._phase_started,
    PhaseFinished: Builder._phase_finished,
    AgentMessage: Builder._message,
    AgentThinking: Builder._thinking,
    ToolCalled: Builder._called,
    ToolReturned: Builder._returned,
    ModelCalled: Builder._model,
    CheckFinished: Builder._check,
    Log: Builder._log,
    AgentRetried: Builder._retried,
    Redacted: Builder._redacted,
    ReplayDiverged: Builder._diverged,
}
