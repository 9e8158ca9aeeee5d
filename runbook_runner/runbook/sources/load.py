"""Room `runbook`: where a runbook comes from: a file, a folder, stdin or an https address."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_folder, read_found, read_stream, text_of
from runbook_runner.core.settings import RUNBOOK_FILE

if TYPE_CHECKING:
    import ssl

STDIN = "-"


class Source(NamedTuple):
    text: str
    """Decoded, without a byte order mark; line ends as they are."""
    name: str
    """What messages call it: the path, the address without its query, or `<stdin>`."""
    folder: Path | None
    """Where its side files (`.env`, inputs) are; `None` for stdin and addresses."""


def load(path: str, *, tls: "ssl.SSLContext | None" = None) -> Source:
    """Reads a file, `FOLDER/RUNBOOK.md`, `-` (stdin) or an https URL (GitHub pages of files are translated).

    tls: for a server with a certificate of its own. Raises InputError: not there, not readable, more than 5 MB, not
    UTF-8 text, or an address that is not allowed.
    """
    if path == STDIN:
        return Source(text_of(read_stdin(), "<stdin>"), "<stdin>", None)
    if "://" in path:
        from runbook_runner.runbook.sources.fetch import fetch, safe_url  # ssl is slow to import

        name = safe_url(path)
        return Source(text_of(fetch(path, tls=tls), name), name, None)
    file = _file(path)
    return Source(text_of(read_found(file, "runbook"), str(file)), str(file), file.resolve().parent)


def read_stdin() -> bytes:
    """Raises InputError when it has more than 5 MB."""
    return read_stream(sys.stdin.buffer, "<stdin>")


def _file(path: str) -> Path:
    in_folder = is_folder(path)
    file = Path(path, RUNBOOK_FILE) if in_folder else Path(path)
    if os.path.lexists(file):
        return file
    hint = "Give a RUNBOOK.md, a folder that holds one, an https address, or - for stdin."
    what = "This folder holds no RUNBOOK.md." if in_folder else "There is no such file."
    raise InputError(what, where=path, hint=hint)
