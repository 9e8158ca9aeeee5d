"""Command line: shows a run as it happens. A reader of the event stream like any other."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from runbook_runner.cli.ui.output import OutputError
from runbook_runner.core.events import (
    AgentMessage,
    AgentNotice,
    AgentRetried,
    Artifact,
    CheckFinished,
    Event,
    Log,
    ModelCalled,
    PhaseFinished,
    PhaseStarted,
    Recorded,
    Redacted,
    ReplayDiverged,
    RunStarted,
    SandboxStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)
from runbook_runner.core.text import counted, printable_name, printable_output
from runbook_runner.evaluation.gates import Reached
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.trajectory.models import RunbookOutputs, Trajectory
from runbook_runner.trajectory.outcome import is_provisional, outcome_told
from runbook_runner.trajectory.tree import said_of

_OUTPUT_LINES = 6
_FAILED_LINES = 12
_COMMAND_LINES = 3
_DIFFERENCES = 3
_NOT_SHOWN = 3
_SHORTEST_SHOWN_S = 0.05  # phases that took less are not shown
_CHECK_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "error": ("✗", "red")}
_NO_VERDICT = {"failed": "ERROR", "cancelled": "CANCELLED"}


class Display:
    """Prints lines to a console, and on a terminal a status line below them that is updated."""

    def __init__(self, console: Console, cancellation: Cancellation, *, has_status: bool = True):
        self._console = console
        self._warned: set[str] = set()
        self._status = _Status(cancellation)
        self._live = (
            Live(
                self._status,
                console=console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,  # rich would read the styles in what others write
                redirect_stderr=False,
            )
            if has_status
            and console.file.isatty()  # not `is_terminal`: FORCE_COLOR asks for colours, not for what moves
            else None
        )

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes the status line away and brings the cursor back."""
        with suppress(OutputError):
            if self._live:
                self._live.stop()

    def __call__(self, recorded: Recorded) -> None:
        """Does not raise when the output can't be written, so that the run continues; the summary raises it."""
        event = recorded.event
        self._status.note(event)
        with suppress(OutputError):
            for line in lines_of(event):
                if not self._repeats(line.plain):
                    self._console.print(line, soft_wrap=True)

    def _repeats(self, line: str) -> bool:
        """Whether it is a warning that was shown before: each retry of a model call brings the same ones."""
        if not line.startswith("! "):
            return False
        repeated = line in self._warned
        self._warned.add(line)
        return repeated


class _Status:
    """The status line: phase, time, tokens, cost, and where a long piece of work is."""

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._phase = ""
        self._began = time.monotonic()
        self._usage = Usage()
        self._detail = ""
        self._spinner = Spinner("dots")

    def note(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._phase, self._began, self._detail = event.phase, time.monotonic(), ""
        elif isinstance(event, Log) and event.level == "debug":
            self._detail = printable_name(event.message)
        elif isinstance(event, ModelCalled):
            self._usage += event.usage

    def __rich__(self) -> Spinner:
        parts = [self._phase, f"{time.monotonic() - self._began:.0f} s"]
        if self._usage.total_tokens:
            parts.append(counted(self._usage.total_tokens, "token"))
        if self._usage.cost_usd is not None:
            parts.append(f"${self._usage.cost_usd:.4f}")
        if self._cancellation.requested:
            parts.append("stopping; press Ctrl-C again to leave now")
        elif self._detail:
            parts.append(self._detail)
        self._spinner.update(text=Text(" · ".join(parts), style="dim", no_wrap=True, overflow="ellipsis"))
        return self._spinner


def lines_of(event: Event) -> list[Text]:
    """As a live run shows it; none for what says nothing to people."""
    match event:
        case RunStarted():
            who = " · ".join(str(event.init_params[key]) for key in ("agent", "model") if event.init_params.get(key))
            name = f"{event.collection}/{event.task} {event.trajectory_id}"
            return [Text.assemble((name, "bold"), f" · {printable_name(who)}")]
        case PhaseFinished() if event.seconds >= _SHORTEST_SHOWN_S or not event.ok:
            mark, style = ("✓", "green") if event.ok else ("✗", "red")
            return [Text(f"{mark} {event.phase} {event.seconds:.2f} s", style=style)]
        case CheckFinished():
            mark, style = _CHECK_MARKS[event.status]
            said = f"{mark} {event.id}: {printable_output(event.message)}".removesuffix(": ")
            return [Text(f"  {said}", style=style)]
        case SandboxStarted():
            origin = f" from {event.image}" if event.image else f" in {event.app}"
            return [Text(f"  {event.backend}{origin}", style="dim")]
        case Log(level="warning" | "error"):
            return [Text(f"! {printable_output(event.message)}", style="yellow" if event.level == "warning" else "red")]
        case Log(level="info"):
            return [Text(f"  {printable_output(event.message)}", style="dim")]
        case AgentMessage(role="assistant") if event.text.strip():
            return [Text(f"● {printable_output(event.text.strip())}")]
        case ToolCalled():
            command = _indent(_shorten(said_of(event), _COMMAND_LINES)).lstrip()
            return [Text(f"$ {event.name}: {command}", style="cyan")]
        case ToolReturned() if event.output.strip():
            if event.failed:
                return [Text(_indent(_last(event.output.strip(), _FAILED_LINES)), style="red")]
            return [Text(_indent(_shorten(event.output.strip(), _OUTPUT_LINES)), style="dim")]
        case AgentRetried():
            again = f"The agent is started again in {event.delay_s:.0f} s."
            return [Text(f"! {printable_output(event.error)}", style="yellow"), Text(f"! {again}", style="yellow")]
        case AgentNotice() if event.kind.endswith("api_retry"):
            return [Text("! The agent repeats its model call.", style="yellow")]
        case ModelCalled() if event.error:
            return [
                Text(
                    f"! {'judge' if event.asker == 'judge' else 'model'}: {printable_output(event.error)}",
                    style="yellow",
                )
            ]
        case ReplayDiverged() if event.differences or event.severity != "minor":
            return [Text(line, style="yellow") for line in _divergence(event)]
        case Redacted():
            return [Text(f"! {printable_name(event.where)}: removed {event.count} × {event.rule}", style="yellow")]
    return []


def _divergence(event: ReplayDiverged) -> Iterator[str]:
    """Lines for new differences only; every later request repeats them."""
    whose = "judge" if event.asker == "judge" else "model"
    yield f"! {whose} call {event.number} is not as recorded ({event.severity})"
    for difference in event.differences[:_DIFFERENCES]:
        line = f", line {difference.line}" if difference.line else ""
        yield f"    {printable_output(difference.path)}{line} ({difference.origin})"
        yield from (_indent(f"  - {text}") for text in _shorten(difference.before, 1).splitlines())
        yield from (_indent(f"  + {text}") for text in _shorten(difference.after, 1).splitlines())


def _shorten(text: str, most: int) -> str:
    lines = printable_output(text).splitlines()
    more = len(lines) - most
    return "\n".join(lines[:most] + ([f"… {counted(more, 'more line')}"] if more > 0 else []))


def _last(text: str, most: int) -> str:
    """An error stands at the end."""
    lines = printable_output(text).splitlines()
    before = len(lines) - most
    all_of_it = [f"… {counted(before, 'line')} before, see agent/stdout.log"] if before > 0 else []
    return "\n".join(all_of_it + lines[-most:])


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def print_summary(
    console: Console,
    trajectory: Trajectory,
    problems: Iterable[str],
    files: list[Artifact],
    notes: Iterable[str],
    folder: Path,
) -> None:
    """Prints the verdict, why it is not a pass, the results (the primary output first), the notes on them, and the
    trajectory folder."""
    outputs = trajectory.steps["run"].outputs
    assert isinstance(outputs, RunbookOutputs)
    passed = trajectory.status == "completed" and outputs.verdict == "pass"
    style = "bold green" if passed else "bold red"
    console.print(Text(headline(trajectory, outputs), style=style), soft_wrap=True)
    if judge := trajectory.attributes.params.get("judge"):
        console.print(Text(f"  {_judged(judge)}"), soft_wrap=True)
    for problem in problems:
        console.print(Text(_indent(printable_output(problem)), style="red"), soft_wrap=True)
    for file in files:
        note = "  (primary)" if file.primary is not None else ""
        console.print(Text(f"  {printable_name(file.path)}  {decimal(file.size)}{note}"), soft_wrap=True)
    for note in notes:
        console.print(Text(f"! {printable_output(note)}", style="yellow"), soft_wrap=True)
    console.print(Text(f"  {folder}", style="dim"), soft_wrap=True)


def print_next(console: Console, trajectory_id: str, *, has_files: bool, than: str | None = None) -> None:
    """Which commands show more of a run that is over. than: the run that it repeats, as a command takes it."""
    commands = ["show", *(["open"] if has_files else [])]
    told = [f"runbook runs {command} {trajectory_id}" for command in commands]
    told.append(f"runbook diff {than} {trajectory_id}" if than else f"runbook replay {trajectory_id}")
    console.print(Text(f"  Next: {' · '.join(told)}", style="dim"), soft_wrap=True)


def _judged(judge: Mapping[str, Any]) -> str:
    """`judged by gpt-5: 4.3 · 1,234 tokens in 1 call · $0.0100`; what it cost is not in the run's own sum."""
    score, usage, errors = judge.get("score"), Usage.model_validate(judge["usage"]), judge.get("errors")
    parts = [f"judged by {printable_name(str(judge.get('model')))}" + (f": {score:g}" if score is not None else "")]
    parts += [counted(errors, "error")] if errors else []
    parts += [not_shown(left_out)] if (left_out := judge.get("left_out")) else []
    parts.append(f"{counted(usage.total_tokens, 'token')} in {counted(usage.api_calls, 'call')}")
    if "provider" in judge["model_calls"]:
        parts += [f"${usage.cost_usd:.4f}"] if usage.cost_usd is not None else []
    else:
        parts += [f"answered by the {' and the '.join(judge['model_calls'])}"] if judge["model_calls"] else []
    return " · ".join(parts)


def not_shown(left_out: Sequence[str]) -> str:
    """left_out: as `Material` has it, a file and why."""
    names = ", ".join(printable_name(one.partition(": ")[0]) for one in left_out[:_NOT_SHOWN])
    more = f" and {len(left_out) - _NOT_SHOWN} more" if len(left_out) > _NOT_SHOWN else ""
    return f"it was not shown all of {names}{more}"


def print_gates(console: Console, gates: Iterable[Reached]) -> None:
    for gate, holds, why in gates:
        mark, style = ("✓", "green") if holds else ("✗", "red")
        console.print(
            Text(f"{mark} gate {gate}{': ' + printable_output(why) if why else ''}", style=style), soft_wrap=True
        )


def headline(trajectory: Trajectory, outputs: RunbookOutputs) -> str:
    """How it ended, how long it took, and what it cost."""
    params = trajectory.attributes.params
    word = outcome_told("pass" if outputs.verdict == "pass" else "fail", provisional=is_provisional(params))
    if trajectory.status != "completed":
        word = _NO_VERDICT[trajectory.status]
    parts = [word, f"{trajectory.steps['run'].duration_seconds or 0:.1f} s"]
    if outputs.usage.api_calls:
        parts.append(f"{counted(outputs.usage.total_tokens, 'token')} in {counted(outputs.usage.api_calls, 'call')}")
    if (answered_by := params.get("model_calls")) and "provider" not in answered_by:
        parts.append(f"answered by the {' and the '.join(answered_by)}")
    elif outputs.usage.cost_usd is not None and (outputs.usage.api_calls or outputs.usage.cost_usd):
        parts.append(f"${outputs.usage.cost_usd:.4f}")
    return " · ".join(parts)
