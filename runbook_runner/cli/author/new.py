"""Command line: `runbook new`."""

import argparse
import os
import sys
from pathlib import Path

from runbook_runner.agents.registry import find_facts, infer_agent, known_agents
from runbook_runner.cli.author.check_files import findings_of_text
from runbook_runner.cli.ui.ask import ask
from runbook_runner.cli.ui.output import write_new
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import is_link
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.runbook.authoring.scaffold import EVALUATIONS, NewRunbook, folder_name, scaffold

DESCRIPTION = """\
Nothing is ever overwritten. On a terminal it asks for what is left out.

Exit codes: 0 written, 2 a bad name or option, or the file exists already.
"""

_OTHER = "Choose another name."


def declare(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="Name of the folder, and the title.")
    evaluation = "rubric (the agent scores its work) or programmatic (facts decide) (default: rubric)."
    add("--evaluation", metavar="KIND", help=evaluation)
    add("--agent", help="The agent that works (default: the one for the model, else claude-code).")
    add("--model", help="Model id (default: the agent's own).")
    description = "What the agent should do, in a sentence or two; becomes Objective and title."
    add("--from-description", dest="description", metavar="TEXT", help=description)
    add("--out", type=Path, default=Path(), metavar="DIR", help="Where to make its folder (default: here).")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError: no name, a bad name, a bad option, the file exists already or can't be written, or `check`
    would refuse it."""
    new = _asked_for(arguments, is_terminal=sys.stdin.isatty() and sys.stderr.isatty())
    file = arguments.out / folder_name(new.name) / RUNBOOK_FILE
    if os.path.lexists(file):
        raise InputError("There is a runbook already; it stays as it is.", where=str(file), hint=_OTHER)
    if is_link(file.parent):
        raise InputError("This is a link, and nothing is written behind it.", where=str(file.parent), hint=_OTHER)
    text = scaffold(new)
    for finding in findings_of_text(text, str(file)):
        if finding.severity == "error":
            raise InputError(finding.message, hint=finding.hint)
    write_new(file, text, makes_folder=True)
    sys.stdout.write(f"{file}\n")
    sys.stderr.write(f"Next: edit it, then\n  runbook check {file}\n  runbook run {file.parent}\n")
    return ExitCode.PASS


def _asked_for(arguments: argparse.Namespace, *, is_terminal: bool) -> NewRunbook:
    name = arguments.name or (ask("Name") if is_terminal else None)
    if not name:
        raise InputError("A new runbook needs a name.", hint="Write `runbook new NAME`.")
    if "/" in name or "\\" in name:
        raise InputError(f"{name!r} is a path, not a name.", hint="Write `runbook new NAME --out FOLDER`.")
    folder_name(name)
    near = (arguments.out, Path.cwd())
    agent = arguments.agent or infer_agent(arguments.model, near).name
    if is_terminal and not arguments.agent and not arguments.model:
        agent = ask(f"Agent ({', '.join(known_agents(near))})", agent)
    facts = find_facts(agent, near)
    if arguments.model and facts.runs_blocks:
        raise InputError(f"--model has no meaning with the agent {facts.name}, which calls no model.")
    evaluation = arguments.evaluation or ("programmatic" if facts.runs_blocks else EVALUATIONS[0])
    if is_terminal and not arguments.evaluation:
        evaluation = ask(f"Evaluation ({', '.join(EVALUATIONS)})", evaluation)
    description = arguments.description
    if is_terminal and description is None:
        description = ask("What should it do (empty: write it later)", "")
    return NewRunbook(name, evaluation, facts, arguments.model or facts.default_model, description=description or "")
