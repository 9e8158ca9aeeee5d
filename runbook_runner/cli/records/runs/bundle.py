"""Command line: `runbook runs bundle`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Final

from runbook_runner.agents.registry import find_agent
from runbook_runner.cli.options import add_env_file, add_force, add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.console import make_console
from runbook_runner.cli.ui.output import put_json, require_place, tell_written, warn
from runbook_runner.cli.ui.progress import Progress
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import opened_atomically
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted, decoded_name, printable_name
from runbook_runner.runner.bundles.manifest import WITHOUT, Manifest
from runbook_runner.runner.bundles.write import Written, write_bundle
from runbook_runner.runner.recovery.claims import is_alive
from runbook_runner.runner.replay.recorded_run import MODEL_FOLDER
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.trajectory.folders import (
    AGENT,
    EVENTS_FILE,
    IMPORTED,
    JUDGE,
    LABELS_FILE,
    MISSION_FILE,
    RESULTS,
    SPEC_FILE,
)
from runbook_runner.trajectory.sandbox_log import SANDBOX_LOG

DESCRIPTION = """\
In the file, a zip, is all that was recorded of the run: its spec and runbook, inputs, events, model calls, results,
check sources and labels, and a manifest with the digest of each file, and of the image, which is not in it. The command
tells what is in it. `runbook replay FILE` runs it again without a network, `runbook diff` compares it, `runbook import`
makes the same run of it. The same run gives the same bytes.

What was redacted in the run is redacted in the file. All of it, with zips among the inputs and check sources, is
searched for the secrets in your environment, and refused when it holds one: providers' keys, variables that are named
like a secret (KEY, TOKEN, PASSWORD, …), passwords in addresses (postgres://user:PASSWORD@host), and every value in the
file of --env-file. Not searched for is a value of less than 8 characters, or that may be an ordinary word. It warns of
what looks like a key, and of files that were not searched because they are packed or encrypted: look at them before you
share it.

Exit codes: 0 written, 2 bad input (no such run, it is live, or it holds a secret).
"""

_SINGLE: Final = {
    MISSION_FILE: "runbook",
    SPEC_FILE: "spec",
    EVENTS_FILE: "events",
    SANDBOX_LOG: "sandbox's log",
    LABELS_FILE: "labels",
}
_FOLDERS: Final = {
    RESULTS: "results",
    MODEL_FOLDER: "model calls",
    AGENT: "the agent's logs",
    JUDGE: "the judge's calls",
    IMPORTED: "what was imported",
}
_MOST_NAMED: Final = 10


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    out = "The file to write (default: ID.bundle.zip in the current folder)."
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help=out)
    without = "Leave out the files that the run was given, or its check sources; a replay needs them. Repeatable."
    parser.add_argument(
        "--without", action="append", choices=[*WITHOUT], default=[], metavar="|".join(WITHOUT), help=without
    )
    add_env_file(parser, "Search for every value in this file, too, whatever its name is.")
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
        with opened_atomically(out) as file, Progress(make_console(stderr=True)) as report:
            written = write_bundle(folder, file, user_variables(arguments.env_file), arguments.without, report)
    except OSError as error:
        raise InputError(f"The bundle can't be written: {error.strerror}.", where=str(out)) from error
    for warning in _warnings(written):
        warn(printable_name(warning))
    if arguments.json:
        manifest = written.manifest
        shown = manifest.model_dump(mode="json", exclude={"files"})
        put_json(
            {
                **shown,
                "path": decoded_name(str(out)),
                "bytes": out.stat().st_size,
                "files": len(manifest.files),
                "contents": written.files,
                "kept": written.kept,
                "like_keys": written.found.like_keys,
                "unopened": written.found.unopened,
            }
        )
    else:
        _print(out, written)
    return ExitCode.PASS


def _warnings(written: Written) -> list[str]:
    manifest = written.manifest
    keys = [f"{name} ({', '.join(rules)})" for name, rules in written.found.like_keys.items()]
    found = [f"This looks like a key: {_listed(keys)}. Look at it before you share the bundle."] if keys else []
    found += [f"{message} Look at them before you share the bundle." for message in manifest.unsearched]
    for name, why in written.found.unopened.items():
        found.append(f"{name} was not searched for secrets: {why}")
    for part in manifest.lacks:
        names = f"{WITHOUT[part]} ({_listed(written.kept[part])})"
        found.append(f"The {names} are not in it; a replay needs them.")
    if manifest.status == "running":
        found.append("The end of this run is not recorded; `runbook clean` finishes a run whose process is dead.")
    if manifest.not_replayable:
        found.append(f"Elsewhere it can be looked at and compared, but not replayed: {manifest.not_replayable}")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _contents(written: Written) -> str:
    """What is in it, for people."""
    files = written.files
    named = [f"the {what}" for name, what in _SINGLE.items() if name in files]
    named += [f"{what} ({counted(files[name], 'file')})" for name, what in _FOLDERS.items() if name in files]
    named += [f"{what} ({_listed(written.kept[part])})" for part, what in WITHOUT.items() if part in files]
    return ", ".join(named)


def _print(out: Path, written: Written) -> None:
    manifest = written.manifest
    tell_written(out, f"run {manifest.trajectory_id}, {counted(len(manifest.files), 'file')}")
    lines = [f"In it: {_contents(written)}."]
    if image := manifest.image:
        digest = f" ({image.digest})" if image.digest else ""
        lines.append(f"It needs the image {image.name}{digest}, which is not in it.")
    elif program := _program(manifest):
        lines.append(f"It needs {program}, which is not in it.")
    lines.append(f"Next: runbook {'import' if manifest.not_replayable else 'replay'} {quote(str(out))}")
    sys.stdout.writelines(f"{printable_name(line)}\n" for line in lines)


def _program(manifest: Manifest) -> str | None:
    """The CLI of a run without an image, with its version; `None` for an agent that nobody has to install."""
    if not manifest.agent:
        return None
    try:
        agent = find_agent(manifest.agent, [Path.cwd()])
    except InputError:  # it was declared elsewhere
        return None
    version = manifest.agent_version or agent.version
    return f"the CLI of {agent.name} {version} (`{agent.install.hint}`)" if agent.install.hint else None
