"""Command line: `runbook new`."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from runbook_runner.agents.registry import find_facts, infer_agent
from runbook_runner.core.agent_facts import AgentFacts
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import write_atomically
from runbook_runner.runbook.authoring.scaffold import EVALUATIONS, NewRunbook, folder_name, scaffold


def new(
    name: str | None = typer.Argument(None, metavar="NAME", help="What to call it: the folder, and the title."),
    evaluation: str | None = typer.Option(
        None, metavar="KIND", help="rubric (the agent scores its work) or programmatic (facts decide). Default: rubric."
    ),
    agent: str | None = typer.Option(None, help="Who works. Default: by the model, else claude-code."),
    model: str | None = typer.Option(None, help="Model id. Default: the agent's own."),
    from_description: str | None = typer.Option(
        None, metavar="TEXT", help="What it should do, in a sentence or two; becomes Objective and title."
    ),
    out: Path = typer.Option(Path(), metavar="DIR", help="Where to make its folder. Default: here."),
) -> None:
    """Start a new runbook, NAME/RUNBOOK.md, that can be run and checked as it is. Nothing is ever overwritten.

    On a terminal it asks for what is left out.

    Exit codes: 0 written, 2 a bad name or option, or the file is there already.
    """
    execute(Asked(name, evaluation, agent, model, from_description, out))


@dataclass(frozen=True)
class Asked:
    """The command line as typed; `None`: left out."""

    name: str | None
    evaluation: str | None
    agent: str | None
    model: str | None
    description: str | None
    out: Path


def execute(asked: Asked) -> None:
    """Raises InputError: no or a bad name, a bad option, the file is there already or can't be written."""
    new = _asked_for(asked, is_terminal=sys.stdin.isatty() and sys.stderr.isatty())
    file = asked.out / folder_name(new.name) / "RUNBOOK.md"
    if os.path.lexists(file):
        raise InputError("There is a runbook already; it stays as it is.", where=str(file), hint="Choose another name.")
    _write(file, scaffold(new))
    sys.stdout.write(f"{file}\n")
    sys.stderr.write(f"Next: edit it, then\n  runbook check {file}\n  runbook run {file.parent}\n")


def _asked_for(asked: Asked, *, is_terminal: bool) -> NewRunbook:
    name = asked.name or (_ask("Name") if is_terminal else None)
    if not name:
        raise InputError("A new runbook needs a name.", hint="Write `runbook new NAME`.")
    folder_name(name)
    agent = asked.agent or infer_agent(asked.model, [asked.out]).name
    if is_terminal and not asked.agent and not asked.model:
        agent = _ask("Agent", agent)
    facts = _facts(agent.strip().lower(), asked.out)
    default = "programmatic" if facts.runs_blocks else EVALUATIONS[0]
    evaluation = asked.evaluation or (
        _ask(f"Evaluation ({', '.join(EVALUATIONS)})", default) if is_terminal else default
    )
    description = asked.description
    if description is None and is_terminal:
        description = _ask("What should it do (empty: write it later)", "")
    return NewRunbook(name, evaluation, facts, asked.model or facts.default_model, description=description or "")


def _facts(agent: str, folder: Path) -> AgentFacts:
    """A runbook may name an agent that is not known here."""
    try:
        return find_facts(agent, [folder])
    except InputError:
        return AgentFacts(agent)


def _ask(question: str, default: str | None = None) -> str:
    return str(typer.prompt(question, default=default, err=True))


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)
    except OSError as error:
        raise InputError(f"The file can't be written: {error.strerror}.", where=str(file)) from error
