"""Room `runbook`: where a runbook comes from: a file, a folder, stdin or an https address."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import MAX_RUNBOOK_BYTES

if TYPE_CHECKING:
    import ssl

STDIN = "-"
_USUAL = 1 << 17  # room for 5 MB is asked for only when a file has more than this: it costs a millisecond


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
    return Source(text_of(read_bounded(file), str(file)), str(file), file.resolve().parent)


def read_stdin() -> bytes:
    """Raises InputError when it has more than 5 MB."""
    return _bounded(sys.stdin.buffer, "<stdin>")


def read_bounded(file: Path) -> bytes:
    """A file's bytes. Raises InputError when it can't be read or has more than 5 MB."""
    try:
        with file.open("rb") as stream:
            return _bounded(stream, str(file))
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror or error}.", where=str(file)) from error


def text_of(raw: bytes, name: str) -> str:
    """Raises InputError, with the line, for what is not UTF-8 text."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError("This is not UTF-8 text.", where=f"{name}:{line}", hint="Save the file as UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError("There is a NUL byte: this is not a text file.", where=f"{name}:{line}")
    return text


def _file(path: str) -> Path:
    is_folder = os.path.isdir(path)  # noqa: PTH112 - unlike Path.is_dir it never raises
    file = Path(path, "RUNBOOK.md") if is_folder else Path(path)
    if os.path.lexists(file):
        return file
    hint = "Give a RUNBOOK.md, a folder that holds one, an https address, or - for stdin."
    what = "This folder holds no RUNBOOK.md." if is_folder else "There is no such file."
    raise InputError(what, where=path, hint=hint)


def _bounded(stream: BinaryIO, name: str) -> bytes:
    raw = stream.read(_USUAL)
    if len(raw) == _USUAL:
        raw += stream.read(MAX_RUNBOOK_BYTES + 1 - _USUAL)
    if len(raw) > MAX_RUNBOOK_BYTES:
        raise InputError(f"A runbook may have {MAX_RUNBOOK_BYTES // 1_000_000} MB; this has more.", where=name)
    return raw
