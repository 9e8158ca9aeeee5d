"""Command line: where a command's output goes: standard output, whose failures are reported, and files."""

import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.files import rewrite, write_atomically

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(NotReadyError):
    """Standard output can't be written: the disk is full, or the terminal has gone."""


def replace_stdout() -> None:
    """Makes failed writes to `sys.stdout` raise OutputError. A stream that is not one of the system's stays."""
    old = sys.stdout
    if not isinstance(old, TextIOWrapper):
        return
    sys.stdout = TextIOWrapper(
        BufferedWriter(_Output(old.fileno(), "w", closefd=False)),
        encoding=old.encoding,
        errors="backslashreplace",  # names of files may not be UTF-8, nor the terminal; stderr does the same
        line_buffering=old.line_buffering,
    )


class _Output(FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # the reader has gone; `__main__` handles it
            raise
        except OSError as error:
            raise OutputError(f"The output can't be written: {error.strerror}.") from error


def put(document: str | bytes) -> None:
    """Writes a document to standard output, byte for byte."""
    raw = document.encode(errors="surrogateescape") if isinstance(document, str) else document
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()


def write_new(file: Path, text: str, *, makes_folder: bool = False) -> None:
    """Raises InputError when the file can't be written."""
    try:
        if makes_folder:
            file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)
    except OSError as error:
        raise _unwritable(file, error) from error


def write_back(file: Path, content: str | bytes) -> None:
    """Replaces the content of a file that exists. Raises InputError when it can't be written."""
    try:
        rewrite(file, content)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"The file can't be written: {error.strerror}.", where=str(file))
