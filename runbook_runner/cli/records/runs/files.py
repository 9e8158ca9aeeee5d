"""Command line: `runbook runs files`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.text import counted, decoded_name, printable_name, size_shown, width
from runbook_runner.trajectory.files import ResultFile, result_files

DESCRIPTION = """\
The primary outputs that the runbook names come first, the others by path. Types are those that were recorded when the
files were collected.

Exit codes: 0 shown, 2 bad input.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError."""
    folder = folder_of(arguments.run)
    files = result_files(folder)
    if arguments.json:
        put_json({"path": str(folder), "files": [_json(folder, file) for file in files]})
        return ExitCode.PASS
    rows = [(printable_name(file.path), _size(file), file.content_type or "?", _note(file)) for file in files]
    wide = min(max((width(path) for path, *_ in rows), default=0), 100)
    digits = max((len(size) for _, size, *_ in rows), default=0)
    for path, size, kind, note in rows:
        filled = path + " " * (wide - width(path))
        sys.stdout.write(f"{filled}  {size:>{digits}}  {printable_name(kind)}{note}\n")
    total = sum(file.size for file in files if file.size is not None)
    sys.stdout.write(f"{counted(len(files), 'file')}, {size_shown(total)} in {folder / 'results'}\n")
    return ExitCode.PASS


def _size(file: ResultFile) -> str:
    return "gone" if file.size is None else size_shown(file.size)


def _note(file: ResultFile) -> str:
    return "  (primary)" if file.primary is not None else ""


def _json(folder: Path, file: ResultFile) -> dict[str, Any]:
    return {
        "path": decoded_name(file.path),
        "file": decoded_name(str(folder / file.path)),
        "size": file.size,
        "content_type": file.content_type,
        "primary": file.primary is not None,
    }
