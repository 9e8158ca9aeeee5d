"""Command line: `runbook runs bundle`."""

import argparse
import sys
from pathlib import Path
from shlex import quote

from runbook_runner.cli.options import add_force, add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put_json, require_place, tell_written, warn
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import opened_atomically
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted, decoded_name, printable_name
from runbook_runner.runner.bundles.manifest import Manifest
from runbook_runner.runner.bundles.write import write_bundle
from runbook_runner.runner.recovery.claims import is_alive

DESCRIPTION = """\
In the file, a zip, is all that was recorded of the run: its spec and runbook, inputs, events, model calls, results and
labels, and a manifest with the digest of each file, and of the image, which is not in it. `runbook replay FILE` runs it
again without a network, `runbook diff` compares it, `runbook import` makes the same run of it. The same run gives the
same bytes.

What was redacted in the run is redacted in the file. It warns of files that were not searched for secrets because they
are packed or encrypted: look at them before you share it.

Exit codes: 0 written, 2 bad input (no such run, or it is live).
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    out = "The file to write (default: ID.bundle.zip in the current folder)."
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help=out)
    add_force(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    folder = folder_of(arguments.run)
    if is_alive(Settings.load().data, folder):
        hint = f"`runbook runs logs -f {folder.name}` follows it to its end."
        raise InputError(f"Run {folder.name} is live.", hint=hint)
    out = arguments.out or Path(f"{folder.name}.bundle.zip")
    require_place(out, "bundle", force=arguments.force)
    try:
        with opened_atomically(out) as file:
            manifest = write_bundle(folder, file)
    except OSError as error:
        raise InputError(f"The bundle can't be written: {error.strerror}.", where=str(out)) from error
    for warning in _warnings(manifest):
        warn(printable_name(warning))
    if arguments.json:
        shown = manifest.model_dump(mode="json", exclude={"files"})
        put_json({**shown, "path": decoded_name(str(out)), "bytes": out.stat().st_size, "files": len(manifest.files)})
    else:
        _print(out, manifest)
    return ExitCode.PASS


def _warnings(manifest: Manifest) -> list[str]:
    found = [f"{message} Look at them before you share the bundle." for message in manifest.unsearched]
    if manifest.status == "running":
        found.append("The end of this run is not recorded; `runbook clean` finishes a run whose process is dead.")
    if manifest.not_replayable:
        found.append(f"It can be looked at and compared, but not replayed: {manifest.not_replayable}")
    return found


def _print(out: Path, manifest: Manifest) -> None:
    tell_written(out, f"run {manifest.trajectory_id}, {counted(len(manifest.files), 'file')}")
    lines = list[str]()
    if image := manifest.image:
        digest = f" ({image.digest})" if image.digest else ""
        lines.append(f"It needs the image {image.name}{digest}, which is not in it.")
    lines.append(f"Next: runbook {'import' if manifest.not_replayable else 'replay'} {quote(str(out))}")
    sys.stdout.writelines(f"{printable_name(line)}\n" for line in lines)
