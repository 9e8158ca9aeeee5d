"""Command line: `runbook runs label`."""

import argparse
import getpass
import sys
from contextlib import suppress

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.text import counted, did_you_mean
from runbook_runner.trajectory.overlay import OVERRIDES, set_labels, set_status

DESCRIPTION = """\
A label that the run has already gets the new value. Labels and a status that is set here outlive every later write of
the trajectory. `--status archived` puts a run aside; `runs list --status completed` does not show it any more.

Exit codes: 0 labelled, 2 bad input, 3 the folder can't be written to.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("labels", nargs="*", metavar="KEY=VALUE", help="A label of the run.")
    parser.add_argument("--author", metavar="NAME", help="Who says so (default: you).")
    known = ", ".join(OVERRIDES)
    parser.add_argument("--status", metavar="STATUS", help=f"Set the status that lists show: {known}.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, RecordingError."""
    labels = dict(map(_parted, arguments.labels))
    if not labels and not arguments.status:
        raise InputError("Give KEY=VALUE, or --status.")
    if arguments.status and arguments.status not in OVERRIDES:
        hint = did_you_mean(arguments.status, OVERRIDES) or f"Known: {', '.join(OVERRIDES)}."
        raise InputError(f"A status can't be set to {arguments.status!r}.", where="--status", hint=hint)
    folder = folder_of(arguments.run)
    made = set_labels(folder, labels, arguments.author or _user()) if labels else []
    if arguments.status:
        set_status(folder, arguments.status)
    if arguments.json:
        put_json({"trajectory_id": folder.name, "labels": made, "status": arguments.status})
    else:
        done = [counted(len(made), "label") + " set"] if made else []
        done += [f"status set to {arguments.status}"] if arguments.status else []
        sys.stdout.write(f"{folder.name}: {', '.join(done)}\n")
    return ExitCode.PASS


def _parted(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"{text!r} is not a label.", hint="Write it like quality=high.")
    return key, value


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "local"
