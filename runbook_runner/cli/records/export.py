"""Command line: `runbook export`."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit, urlunsplit

from runbook_runner.cli.options import add_force
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put, require_place, tell_written, warn
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import opened_atomically
from runbook_runner.core.text import counted
from runbook_runner.trajectory.export.archive import write_archive
from runbook_runner.trajectory.export.atif import write_atif
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.overlay import overlay_as_far_as_known
from runbook_runner.trajectory.store import read_events, require_no_links

DESCRIPTION = """\
atif: ATIF v1.7, the interchange format of agents' trajectories, with subagents as trajectories of their own.

html: one page for people, which needs no server and no script; what looks like a key is removed.

jetty: the trajectory as the hosted platform has it, as in trajectory.json.

otel: spans of OpenTelemetry by its conventions for generative AI, as OTLP/HTTP JSON, one request a line; to a collector
with --endpoint. Without --content they say nothing of what was said. Needs `pip install '.[otel]'`, in the
clone of Runbook Runner.

zip: the collected files by their storage names, as the platform's download has them. `runbook runs bundle` writes a
zip of the whole run.

Exit codes: 0 written, 2 bad input, 3 a library is missing, or the collector did not take the spans.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    names = "|".join(FORMATS)
    parser.add_argument("--format", choices=[*FORMATS], required=True, metavar=names, help="What to write.")
    endpoint = "otel: send the spans to this collector instead, such as http://localhost:4318."
    parser.add_argument("--endpoint", metavar="URL", help=endpoint)
    content = "otel: with what was said, asked of tools and answered by them."
    parser.add_argument("--content", action="store_true", help=content)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="Write it to this file instead of stdout.")
    add_force(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for a run that is not there or can't be read, and for a file that can't be written."""
    folder = folder_of(arguments.run)
    if arguments.format != "otel" and (arguments.endpoint or arguments.content):
        raise InputError("--endpoint and --content are for --format otel.")
    if arguments.endpoint is not None:
        return _send(folder, arguments)
    write = partial(_otel, content=True) if arguments.content else FORMATS[arguments.format]
    if arguments.out is not None:
        require_place(arguments.out, "export", force=arguments.force)
        try:
            with opened_atomically(arguments.out) as out:
                write(folder, out)
        except OSError as error:
            raise InputError(f"The export can't be written: {error.strerror}.", where=str(arguments.out)) from error
        tell_written(arguments.out, f"{arguments.format} of run {folder.name}")
        return ExitCode.PASS
    if arguments.format == "zip" and sys.stdout.isatty():
        raise InputError("A zip is not for a terminal.", hint=f"Add `-o {folder.name}.zip`.")
    _to_stdout(folder, write)
    return ExitCode.PASS


def _to_stdout(folder: Path, write: "Write") -> None:
    from tempfile import TemporaryFile  # a run that can't be exported prints no half of one

    with TemporaryFile() as whole:
        write(folder, whole)
        whole.seek(0)
        if sys.stdout.isatty():
            put(whole.read())
            return
        while block := whole.read(1 << 20):
            put(block)


def _send(folder: Path, arguments: argparse.Namespace) -> int:
    from runbook_runner.trajectory.export.send import TRACES, send_otlp

    if arguments.out is not None:
        raise InputError("The spans go to --endpoint or to --out, not to both.")
    try:
        parts = urlsplit(arguments.endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.username is not None:
        hint = "Such as http://localhost:4318; a token goes into OTEL_EXPORTER_OTLP_HEADERS."
        raise InputError("--endpoint is not an http or https address.", hint=hint)
    url = urlunsplit(parts._replace(path=parts.path if parts.path.strip("/") else TRACES))
    sent = send_otlp(read_events(folder), url, content=arguments.content)
    sys.stdout.write(f"Sent {counted(sent, 'span')} to {url}\n")
    return ExitCode.PASS


def _otel(folder: Path, out: IO[bytes], *, content: bool = False) -> None:
    from runbook_runner.trajectory.export.otel import write_otlp

    write_otlp(read_events(folder), out, content=content)


def _atif(folder: Path, out: IO[bytes]) -> None:
    write_atif(read_events(folder), out)


def _html(folder: Path, out: IO[bytes]) -> None:
    from runbook_runner.trajectory.export.page import write_page

    require_no_links(folder)
    write_page(read_events(folder), out, folder, overlay_as_far_as_known(folder))


def _jetty(folder: Path, out: IO[bytes]) -> None:
    body = overlay_as_far_as_known(folder).over(fold(read_events(folder)).model_dump(mode="json"))
    out.write(json.dumps(body, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def _zip(folder: Path, out: IO[bytes]) -> None:
    gone = write_archive(folder, read_events(folder), out)
    for path in gone[:3]:
        warn(f"{path} is not there any more; the zip does not have it")
    if len(gone) > 3:
        warn(f"{len(gone) - 3} more are not there")


Write = Callable[[Path, IO[bytes]], None]
FORMATS: Final[dict[str, Write]] = {"atif": _atif, "html": _html, "jetty": _jetty, "otel": _otel, "zip": _zip}
