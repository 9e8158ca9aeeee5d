"""Command line: the table of commands. A command's module is imported when it is called or listed, not before."""

import sys
from importlib import import_module

import typer

from runbook_runner.cli.options import Command

_COMMANDS = {
    "run": "runbook_runner.cli.runs.run_options",
    "replay": "runbook_runner.cli.runs.replay",
    "script": "runbook_runner.cli.author.script",
    "cost": "runbook_runner.cli.records.cost",
    "clean": "runbook_runner.cli.records.clean",
    "check": "runbook_runner.cli.author.check",
    "show": "runbook_runner.cli.author.show",
    "new": "runbook_runner.cli.author.new",
    "fmt": "runbook_runner.cli.author.fmt",
    "migrate": "runbook_runner.cli.author.migrate",
    "schema": "runbook_runner.cli.author.schema",
    "snapshots": "runbook_runner.cli.machine.snapshots",
    "shell": "runbook_runner.cli.runs.shell",
    "attach": "runbook_runner.cli.runs.shell",
    "doctor": "runbook_runner.cli.machine.doctor",
}
"""Command → module with a function of that name, or a group of commands."""


def build() -> typer.Typer:
    """The command line for these arguments: the one command that is called, or all of them for the help."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    called = sys.argv[1] if len(sys.argv) > 1 else None
    for name in [called] if called in _COMMANDS else _COMMANDS:
        command = getattr(import_module(_COMMANDS[name]), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command.typed() if isinstance(command, Command) else command)
    return app


def root(version: bool = typer.Option(False, "--version", "-V", help="Print the version and leave.")) -> None:
    """Run agent runbooks on your own machine: one Markdown file in, a recorded trajectory out."""
