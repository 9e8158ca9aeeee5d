"""Command line: where a command's output goes: standard output, whose failures are reported, and files."""

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.files import make_folder, rewrite, write_atomically

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(NotReadyError):
    """Standard output can't be written: the disk is full, or the terminal has gone."""


def prepare_streams() -> None:
    """Makes the standard streams safe to use, whatever they are; streams that are not the system's stay.

    A closed one reads and writes as /dev/null; it would be None, and the next file opened would get its descriptor.
    When the reader of a stream has gone (`| head`), the rest is discarded and the command goes on to its end. Every
    other failure of stdout raises OutputError; a failure of stderr can't be reported anywhere.
    """
    for descriptor, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free descriptor is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - stays open until the process ends
    sys.stdout = _writable(sys.stdout, 1)
    sys.stderr = _writable(sys.stderr, 2)


def _writable(old: TextIO | None, descriptor: int) -> TextIO:
    if old is not None and not isinstance(old, TextIOWrapper):
        return old
    return TextIOWrapper(
        BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=old.encoding if old else "utf-8",
        errors="backslashreplace",  # names of files may not be UTF-8, nor the terminal
        line_buffering=old.line_buffering if old else False,
    )


class _Output(FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and self.fileno() == 1:
                raise OutputError(f"The output can't be written: {error.strerror}.") from error
            discard(self.fileno())
            return super().write(data)


def discard(descriptor: int) -> None:
    """What is written to the descriptor from now on goes nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


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
            make_folder(file.parent)
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
