"""Command line: `runbook run`: arguments → request → prepared run → summary or JSON."""

import argparse
from dataclasses import replace

from runbook_runner.cli.runs.attempts import described, follow_attempts
from runbook_runner.cli.runs.publish import RUN, publish_run, publishing_errors, require_places
from runbook_runner.cli.runs.request import request_of
from runbook_runner.cli.runs.run_options import declare
from runbook_runner.cli.ui.follow import ask_on_terminal, console_for, print_briefly
from runbook_runner.cli.ui.output import after_json, put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.evaluation.gates import parse_gate
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner import prepare
from runbook_runner.runner.suite.attempts import require_attempts

__all__ = ["DESCRIPTION", "declare", "execute"]

DESCRIPTION = """\
Exit codes: 0 passed, 1 the verdict is fail or a gate does not hold, 2 bad input, 3 this machine is not ready, 4 the
agent failed or ran out of time, 5 a bug, 130 interrupted.
"""


def execute(arguments: argparse.Namespace) -> int:
    """Runs and reports; the exit code. Raises RunbookError for what was wrong before anything was recorded."""
    require_places(arguments)
    with publishing_errors(arguments, RUN):
        gates = tuple(map(parse_gate, arguments.gates))
        require_attempts(arguments.attempts)
        request = request_of(arguments)
        source = load(arguments.path)
        prepared = prepare(replace(request, document=source), None if arguments.dry_run else ask_on_terminal())
    if arguments.dry_run:
        from runbook_runner.cli.runs.dry_run import print_plan

        print_plan(prepared, as_json=arguments.json)
        with after_json():
            prepared.require_ready()
        return ExitCode.PASS
    console = console_for(quiet=arguments.quiet, json=arguments.json)
    with publishing_errors(arguments, RUN):
        followed, attempts = follow_attempts(prepared, console, gates, arguments.attempts)
    if console and not arguments.json:
        from runbook_runner.cli.ui.display import print_next  # imports rich, which --quiet does without

        shown = followed.outcome.trajectory.trajectory_id
        print_next(console, shown, has_files=bool(followed.outcome.outputs.results_files))
    if arguments.quiet:
        print_briefly(followed, followed.problem())
    if arguments.json:
        put_json({**followed.json(), **({"attempts": described(attempts)} if arguments.attempts > 1 else {})})
    with after_json():
        publish_run(arguments, followed, source.name)
        followed.require_copied()
    return ExitCode.INTERRUPTED if attempts.cancelled else followed.exit_code
