"""Command line: `runbook runs label`."""

import argparse
import getpass
import sys
from contextlib import suppress

from runbook_runner.cli.options import REPEATED, add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.text import counted, did_you_mean
from runbook_runner.trajectory.overlay import OVERRIDES, RECORDED, remove_labels, set_labels, set_status
from runbook_runner.trajectory.store import take_back_status

DESCRIPTION = """\
A label that the run has already gets the new value. Labels and a status that is set here outlive every later write of
the trajectory. `--status archived` puts a run aside, and `--status recorded` takes that back: the run has the status
that was recorded again. A status that is set holds once the run is over.

Exit codes: 0 labelled, 2 bad input, 3 the folder can't be written to.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("labels", nargs="*", metavar="KEY=VALUE", help="A label of the run.")
    removed = "Take this label from the run; may be repeated."
    parser.add_argument("--remove", **REPEATED, metavar="KEY", help=removed)
    parser.add_argument("--author", metavar="NAME", help="Who says so (default: you).")
    status = f"Set the status that lists show: {', '.join(OVERRIDES)}; or {RECORDED}."
    parser.add_argument("--status", metavar="NEW-STATUS", help=status)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, RecordingError."""
    labels = dict(map(_parted, arguments.labels))
    if not (labels or arguments.remove or arguments.status):
        raise InputError("Give KEY=VALUE, --remove KEY or --status STATUS.")
    if both := labels.keys() & set(arguments.remove):
        raise InputError(f"The label {min(both)!r} can't be both set and removed.")
    if arguments.status and arguments.status not in (*OVERRIDES, RECORDED):
        hint = did_you_mean(arguments.status, OVERRIDES) or f"Known: {', '.join((*OVERRIDES, RECORDED))}."
        raise InputError(f"A status can't be set to {arguments.status!r}.", where="--status", hint=hint)
    folder = folder_of(arguments.run)
    if arguments.remove:
        remove_labels(folder, arguments.remove)
    made = set_labels(folder, labels, arguments.author or _user()) if labels else []
    if arguments.status == RECORDED:
        take_back_status(folder)
    elif arguments.status:
        set_status(folder, arguments.status)
    if arguments.json:
        changed = {"labels": made, "removed": arguments.remove, "status": arguments.status}
        put_json({"trajectory_id": folder.name, **changed})
    else:
        done = [counted(len(made), "label") + " set"] if made else []
        done += [counted(len(arguments.remove), "label") + " removed"] if arguments.remove else []
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
