"""Command line: `runbook eval`: many runs of a suite, and what they come to."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_runner.cli.options import HOW, MODEL, OUTPUT, REPEATED, WHAT, add_dry_run, add_json, add_quiet
from runbook_runner.cli.runs.publish import EVAL, FORMATS, declare_comment, publish_markdown, publishing_errors
from runbook_runner.cli.runs.request import request_of
from runbook_runner.cli.runs.run_options import add_judge, declare_inputs, declare_sandbox
from runbook_runner.cli.ui.follow import console_for, interruptible
from runbook_runner.cli.ui.output import after_json, put_json, require_place, write_new
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.text import counted, printable_name
from runbook_runner.evaluation.gates import parse_gate
from runbook_runner.runner import RunRequest
from runbook_runner.runner.suite.evaluate import Stopping, Watch, evaluated_suite, prepare_all
from runbook_runner.runner.suite.plan import Cell, Plan, plan_of
from runbook_runner.runner.suite.report import cost, difference, markdown, number, rate, report, require_format
from runbook_runner.runner.suite.row import Row
from runbook_runner.runner.suite.suite_file import Suite, Variant, load_suite
from runbook_runner.runner.suite.summary import Summary, as_json, read_baseline, summarise

if TYPE_CHECKING:
    from rich.console import Console

_MOST_NAMED = 5

DESCRIPTION = """\
Runs each runbook of a suite on each of its cases with each agent and model, several times, and shows the pass rates.
A suite is a YAML file:

  runbooks: [prices, invoices]   # files or folders, relative to this one
  cases: examples/*/input.json   # of each runbook (the default)
  agents: [claude-code, {agent: codex, model: gpt-5.5}]
  repeats: 5

Results are compared with the files of expected/ beside a case. An evaluation that was ended early goes on where it
was. The exit code is 0 when the pass rate of each group (a runbook, a case, an agent) is reached.

Exit codes: 0 passed, 1 not reached, or worse than the baseline, 2 bad input, 3 this machine is not ready, 5 a bug,
130 interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="A suite (.yaml), or a runbook, which is a suite of one."
    )
    what = parser.add_argument_group(WHAT)
    declare_inputs(what)
    add = what.add_argument
    add("--agent", dest="agents", **REPEATED, metavar="AGENT", help="Instead of the suite's agents; may be repeated.")
    add("--model", dest="models", **REPEATED, metavar="MODEL", help="Instead of the suite's models; may be repeated.")
    script = "Answer the agent's model calls from this YAML script; without agents in the suite."
    add("--model-script", type=Path, metavar="FILE", help=script)
    add("--cases", metavar="GLOB", help="Saved inputs, relative to each runbook (default: examples/*/input.json).")
    add("--repeats", type=int, metavar="N", help="How often each is run (default: 1); with --until, at most.")
    rate_help = "The share of runs of each group that must pass, from 0 to 1 (default: 1)."
    add("--pass-rate", type=float, metavar="RATE", help=rate_help)
    until = "Repeat each group until its pass rate is known to be above or below this one: easy verdicts take few runs."
    add("--until", type=float, metavar="RATE", help=until)
    margin = "With --until: rates that are nearer to it than this are not told apart from it (default: 0.05)."
    add("--margin", type=float, metavar="WIDTH", help=margin)
    gate = "What a run must reach to pass, instead of its verdict; may be repeated, see `runbook run --gate`."
    add("--gate", dest="gates", **REPEATED, metavar="GATE", help=gate)
    add_judge(parser.add_argument_group(MODEL))
    how = parser.add_argument_group(HOW)
    declare_sandbox(how)
    add_dry_run(how, "Show the groups and how often each would be run, and start nothing.")
    add = how.add_argument
    add("--concurrency", type=int, metavar="N", help="Runs at once (default: 4).")
    add("--max-cost", dest="max_cost_usd", type=float, metavar="USD", help="Of all runs together.")
    add("--max-tokens", type=int, metavar="N", help="Of all runs together.")
    add("--max-calls", type=int, metavar="N", help="Of all runs together.")
    add("--fresh", action="store_true", help="Begin anew, also when the same evaluation was ended early.")
    output = parser.add_argument_group(OUTPUT)
    files = "Write a report, as Markdown, JSON or HTML by the name's ending; may be repeated."
    output.add_argument("--report", dest="reports", **REPEATED, type=Path, metavar="FILE", help=files)
    baseline = "The JSON report of an earlier evaluation: a group whose pass rate is lower now fails."
    output.add_argument("--baseline", type=Path, metavar="FILE", help=baseline)
    form = "github: add the report to the summary of the GitHub Actions job as well (default: text)."
    output.add_argument("--format", choices=FORMATS, default=FORMATS[0], metavar="text|github", help=form)
    declare_comment(output)
    add_quiet(output)
    add_json(output, "Print the report as one JSON object on stdout; everything else goes to stderr.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises RunbookError for what was wrong before anything was run."""
    for file in arguments.reports:
        require_format(file)
        require_place(file)
    baseline = read_baseline(arguments.baseline) if arguments.baseline else ()
    with ExitStack() as kept:
        with publishing_errors(arguments, EVAL):
            suite = _suite(arguments)
            plan = plan_of(suite, _request(arguments))
            if arguments.dry_run:
                return _print_plan(plan, as_json=arguments.json)
            console, stopping = console_for(quiet=arguments.quiet, json=arguments.json), Stopping()
            with _watched(plan, console) as watch, interruptible(stopping):
                evaluated = kept.enter_context(evaluated_suite(plan, watch, stopping, fresh=arguments.fresh))
        summary = summarise(arguments.path.stem if arguments.path.suffix else arguments.path.name, evaluated, baseline)
        _put(arguments, suite, summary, console, cancelled=stopping.requested)
    if stopping.requested:
        return ExitCode.INTERRUPTED
    return ExitCode.PASS if summary.passed else ExitCode.VERDICT_FAIL


def _put(
    arguments: argparse.Namespace, suite: Suite, summary: Summary, console: "Console | None", *, cancelled: bool
) -> None:
    if console:
        _print(console, summary, cancelled=cancelled)
    elif not summary.passed:
        sys.stderr.write(f"error: {_told(summary)}\n")
    else:
        for group in summary.groups:
            sys.stderr.writelines(f"warning: {printable_name(f'{group.group}: {note}')}\n" for note in group.notes)
    if arguments.json:
        put_json(as_json(summary))
    with after_json():
        publish_markdown(arguments, EVAL, markdown(summary))
        for file in arguments.reports:
            write_new(file, report(summary, suite, file))


def _request(arguments: argparse.Namespace) -> RunRequest:
    """Of each run; the budget is that of all together."""
    return replace(request_of(arguments), max_cost_usd=None, max_tokens=None, max_calls=None)


def _suite(arguments: argparse.Namespace) -> Suite:
    """With what the command line says in its place. Raises InputError."""
    suite = load_suite(arguments.path)
    names = {field for field in Suite.model_fields if field not in ("runbooks", "agents")}
    given: dict[str, Any] = {name: getattr(arguments, name, None) for name in names}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value not in (None, [])
    }
    if arguments.agents:
        given["agents"] = tuple(Variant(agent=agent) for agent in arguments.agents)
    for gate in given.get("gates", ()):
        parse_gate(gate)
    for place, gate in enumerate(suite.gates):
        try:
            parse_gate(gate)
        except InputError as error:
            error.where = suite.place("gates", place)
            raise
    if arguments.model_script and suite.agents:
        raise InputError("--model-script would answer for all agents of the suite.", hint="Name it in the suite.")
    return suite.changed(given)


def _print_plan(plan: Plan, *, as_json: bool) -> int:
    prepare_all(plan)
    if as_json:
        put_json({"groups": [group.key for group in plan.groups], "repeats": plan.suite.repeats})
    else:
        often = counted(plan.suite.repeats, "run")
        for group in plan.groups:
            sys.stdout.write(f"{printable_name(group.key)}: {'at most ' if plan.suite.until else ''}{often}\n")
    return ExitCode.PASS


@contextmanager
def _watched(plan: Plan, console: "Console | None") -> Iterator[Watch]:
    """Shows a line for each run that is done, and below a bar."""
    if console is None:
        yield lambda cell, row: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    runs = len(plan.groups) * plan.suite.repeats
    often = f"{'at most ' if plan.suite.until else ''}{counted(runs, 'run')}"
    bare = {(group.runbook, group.case.name) for group in plan.groups if group.case.fixture and not group.case.expected}
    if bare:
        told = ", ".join(printable_name("/".join(names)) for names in sorted(bare)[:_MOST_NAMED])
        console.print(f"Nothing is expected of {counted(len(bare), 'case')}: {told}", style="dim", markup=False)
    console.print(f"{often} of {counted(len(plan.groups), 'group')}, {plan.suite.concurrency} at once", style="dim")
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task("runs", total=runs)

    def watch(cell: Cell, row: Row | None) -> None:
        if row is None:
            return
        told = f"{'✓' if row.passed else '✗'} {cell.key}: {row.status}, {row.seconds:.1f} s"
        why = "; ".join(f"{one.id}: {one.message}" for one in row.failing[:2])
        style = "green" if row.passed else "red"
        console.print(Text(printable_name(f"{told}{f' ({why})' if why else ''}"), style=style), soft_wrap=True)
        progress.advance(task)

    with progress:
        yield watch


def _print(console: "Console", summary: Summary, *, cancelled: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    if summary.resumed:
        console.print(f"{counted(summary.resumed, 'run')} had been made before.", style="dim")
    if summary.kept:
        kept = f"{counted(summary.kept, 'run')} more had been made, which more --repeats count; --fresh forgets them."
        console.print(kept, style="dim")
    table = Table(box=None, pad_edge=False)
    for title in ("", "Group", "Pass rate (95 %)", "Runs", "Score", "Cost", "Tokens", "Seconds"):
        table.add_column(title, justify="left" if title in ("", "Group", "Pass rate (95 %)") else "right")
    for group in summary.groups:
        mark, style = {"pass": ("✓", "green"), "fail": ("✗", "red"), "unknown": ("?", "yellow")}[group.verdict]
        table.add_row(
            Text(mark, style=style),
            Text(printable_name(group.group)),
            rate(group),
            f"{group.passed}/{group.runs}",
            number(group.score, 2),
            cost(group.cost_usd),
            number(group.tokens, 0),
            number(group.seconds, 1),
        )
    console.print(table)
    for one in summary.baseline:
        if one.now.pass_rate != one.before.pass_rate:
            told = f"{one.group}: {rate(one.before)} before, {rate(one.now)} now: {difference(one)}"
            console.print(Text(printable_name(told), style="red" if one.is_worse else "green"), soft_wrap=True)
    for group in summary.groups:
        for note in group.notes:
            console.print(Text(printable_name(f"! {group.group}: {note}"), style="yellow"), soft_wrap=True)
    for name in summary.gone:
        console.print(Text(printable_name(f"{name}: only in the baseline"), style="red"), soft_wrap=True)
    for group in summary.groups:
        if group.verdict == "unknown" and group.why:
            console.print(Text(printable_name(f"{group.group}: {group.why[0]}"), style="yellow"), soft_wrap=True)
    told = f"{'PASS' if summary.passed else 'CANCELLED' if cancelled else 'FAIL'} · {_told(summary)}"
    console.print(Text(told, style="bold green" if summary.passed else "bold red"), soft_wrap=True)


def _told(summary: Summary) -> str:
    total = summary.total
    ended = ""
    if summary.ended:
        ended = f" Not all was run: {summary.ended}. Evaluated again, it goes on from there, and what was used counts."
    beside = f" {summary.against_baseline}" if summary.against_baseline else ""
    return printable_name(f"{total.passed} of {counted(total.runs, 'run')} passed.{beside}{ended}")
