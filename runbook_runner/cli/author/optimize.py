"""Command line: `runbook optimize`."""

import argparse
import sys
from pathlib import Path

from runbook_runner.cli.options import MODEL, OptionGroup, add_env_file, add_trust, given_fields
from runbook_runner.cli.ui.follow import console_for, follow
from runbook_runner.cli.ui.output import after_json, put, put_json, require_place, write_back, write_new
from runbook_runner.core import settings
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import read_found
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.core.text import counted
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.sources.load import STDIN, Source, load
from runbook_runner.runner import PreparedRun, RunOptions, RunRequest
from runbook_runner.runner.optimize.analysis import (
    LAST,
    Analysis,
    OptimizeRequest,
    analyse,
    as_json,
    markdown,
    precheck_failed,
    shown_cell,
)
from runbook_runner.runner.optimize.session import analysis_of, edited, prepare_session

DESCRIPTION = """\
Looks for consistent failures, wasted iterations, time-outs and bottlenecks, divergent behaviour of the agent, missing
guardrails and score plateaus. No model is asked and nothing is run. The edits are notes with what was counted, below
the heading of the step that names it or of the Tips, and a longer time limit; texts of the runs stand in them as code,
on one line, shortened. An agent has written them: read the diff before you take it. Runs that did not complete, or
have no outputs, only count for what ended them.

With --agent, an agent in a sandbox does it instead: it gets the runbook, the newest run that is of use and its results,
and its edits are shown as a diff, or written with --apply. Its session is recorded under the task `optimize`.

Exit codes: 0 done, also when there is nothing to change, 2 bad input; with --agent as `runbook run`.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    path = "A RUNBOOK.md, a folder that holds one, or '-' for stdin."
    parser.add_argument("path", metavar="RUNBOOK", help=path)
    which = parser.add_mutually_exclusive_group()
    named = "These runs, separated by commas: ids, or their beginnings, or folders."
    which.add_argument("--trajectories", metavar="A,B,…", help=named)
    which.add_argument("--last", type=int, default=LAST, metavar="N", help=f"The last N runs (default: {LAST}).")
    collection = f"Where the runs are recorded (default: {settings.DEFAULT_COLLECTION})."
    parser.add_argument("--collection", metavar="NAME", help=collection)
    parser.add_argument("--task", metavar="NAME", help="Their task (default: by the runbook's title).")
    what = parser.add_mutually_exclusive_group()
    apply = "Make the edits in the file, and raise the patch version in its frontmatter."
    what.add_argument("--apply", action="store_true", help=apply)
    what.add_argument("--report", type=Path, metavar="FILE", help="Write patterns and edits to this Markdown file.")
    _declare_agent(parser.add_argument_group(MODEL))
    json = "Print one JSON object on one line (`optimize_analysis`), also when the runbook or its runs are missing."
    parser.add_argument("--json", action="store_true", help=json)


def _declare_agent(group: OptionGroup) -> None:
    add = group.add_argument
    add("--agent", metavar="NAME", help="Have this agent look at the newest run and edit, in a sandbox.")
    add("--model", help="Its model (default: the agent's).")
    add("--provider", help="The model's provider (default: chosen by your keys).")
    add("--model-script", type=Path, metavar="FILE", help="Answer its model calls from this YAML script.")
    add("--sandbox", default="auto", help="docker, bubblewrap, or host, which isolates nothing (default: auto).")
    add("--timeout", dest="timeout_s", type=float, metavar="SECONDS", help="Time limit of the agent.")
    add("--max-cost", dest="max_cost_usd", type=float, metavar="USD", help="What its model calls may cost.")
    add_env_file(group, "Take provider keys from this file first.")
    add_trust(group)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError: no such runbook or runs, or a file that can't be written."""
    names = tuple(filter(None, (arguments.trajectories or "").split(",")))
    request = OptimizeRequest(names, arguments.last, arguments.collection, arguments.task)
    try:
        if arguments.trajectories is not None and not names:
            raise InputError("--trajectories names no run.")
        source = load(arguments.path)
        if arguments.apply and source.folder is None:
            raise InputError("Only a file can be written.", where=source.name, hint="Leave out --apply.")
        if arguments.report:
            _require_markdown(arguments.report)
            require_place(arguments.report)
        if not arguments.agent:
            _refuse_session_options(arguments)
        analysis = analyse(source, request)
        session = _session(arguments, source, analysis) if arguments.agent else None
    except InputError as error:
        if arguments.json:
            put_json(precheck_failed(error))
            error.follows_json = True
        raise
    if session:
        return _by_agent(arguments, source, session)
    if arguments.agent:
        analysis = analysis.without_use(source.text)
    diff = unified(source.text, analysis.text, RUNBOOK_FILE if arguments.path == STDIN else source.name)
    if arguments.json:
        put_json(as_json(analysis))
    else:
        _show(analysis, diff)
    with after_json():
        _write(arguments, source, analysis, diff)
    return ExitCode.PASS


def _require_markdown(file: Path) -> None:
    if file.suffix.lower() != ".md":
        raise InputError("A report ends in .md.", where=str(file))


def _refuse_session_options(arguments: argparse.Namespace) -> None:
    """Without an agent nothing is run that they could bound."""
    for option in ("model", "provider", "model_script", "timeout_s", "max_cost_usd"):
        if getattr(arguments, option) is not None:
            name = option.removesuffix("_s").removesuffix("_usd").replace("_", "-")
            raise InputError(f"--{name} has no meaning without --agent.", hint="No model is asked then.")


def _session(arguments: argparse.Namespace, source: Source, analysis: Analysis) -> PreparedRun | None:
    """Of the newest run that is of use; `None` without one."""
    if arguments.report:
        raise InputError("--report has no meaning with --agent.")
    run = next((run for run in reversed(analysis.runs) if not run.no_use), None)
    if run is None:
        return None
    asked = given_fields(RunRequest, arguments) | {"task": None, "near": (source.folder or Path.cwd(), Path.cwd())}
    options = RunOptions(**given_fields(RunOptions, arguments))
    return prepare_session(source, run, RunRequest(document="", options=options, **asked))


def _by_agent(arguments: argparse.Namespace, source: Source, session: PreparedRun) -> int:
    followed = follow(session, console_for(quiet=False, json=True))
    text, body = edited(followed.outcome, source), analysis_of(followed.outcome)
    diff = unified(source.text, text, RUNBOOK_FILE if arguments.path == STDIN else source.name)
    if arguments.json:
        put_json({**body, "session": followed.json()})
    else:
        put(diff)
    with after_json():
        if followed.exit_code == ExitCode.PASS and arguments.apply and diff:
            _write_back(source, text)
    return followed.exit_code


def _write(arguments: argparse.Namespace, source: Source, analysis: Analysis, diff: str) -> None:
    if arguments.report:
        write_new(arguments.report, markdown(analysis, source.name, diff))
    elif arguments.apply and diff:
        _write_back(source, analysis.text)
    done = "written" if arguments.apply else "proposed; --apply writes the file"
    said = f"{counted(len(analysis.changes), 'edit')} {done}" if diff else "nothing to change"
    sys.stderr.write(f"{source.name}: {said}\n")


def _write_back(source: Source, text: str) -> None:
    """Raises InputError for a file that is not as it was read: somebody has saved it meanwhile."""
    file = Path(source.name)
    if load(source.name).text != source.text:
        hint = "The diff above was not written: apply it with `patch`, or begin again."
        raise InputError("It was changed meanwhile.", where=source.name, hint=hint)
    mark = "\ufeff" if read_found(file).startswith(b"\xef\xbb\xbf") else ""
    write_back(file, mark + text)


def _show(analysis: Analysis, diff: str) -> None:
    """The table and the patterns to stderr, as the diff on stdout is one that `patch` takes."""
    from rich.table import Table
    from rich.text import Text

    from runbook_runner.cli.ui.console import make_console

    console = make_console(stderr=True)
    table = Table(box=None, pad_edge=False)
    for title in ("Run", "Status", "Verdict", "Seconds", "Iterations", "Score", "Key issue"):
        table.add_column(title, justify="right" if title in ("Seconds", "Iterations", "Score") else "left")
    for run in analysis.runs:
        cells = map(shown_cell, (run.seconds, run.iterations, run.score))
        texts = (run.trajectory_id, run.status, run.verdict or "–", *cells, run.key_issue)
        table.add_row(*map(Text, texts))
    console.print(table)
    lines = []
    for pattern in analysis.patterns:
        where = f" (line {pattern.place.line})" if pattern.place.line else ""
        lines += [f"{pattern.family}{where}: {pattern.summary}"]
        lines += [f"  {one.trajectory_id}: {one.said}" for one in pattern.evidence]
    lines = [*lines, *analysis.caveats] if lines else (analysis.said or ["no pattern"])
    lines += [f"not read: {why}" for why in analysis.unread]
    sys.stderr.write("\n".join(["", *lines]) + "\n")
    put(diff)
