"""Command line: standard output, whose failures are told as what they are."""

import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING

from runbook_runner.core.errors import NotReadyError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(NotReadyError):
    """Nobody can be shown anything any more: the disk it goes to is full, the terminal has gone."""


def install() -> None:
    """In place of `sys.stdout`, when that is one of the system's."""
    old = sys.stdout
    if not isinstance(old, TextIOWrapper):
        return
    sys.stdout = TextIOWrapper(
        BufferedWriter(_Output(old.fileno(), "w", closefd=False)),
        encoding=old.encoding,
        errors="backslashreplace",  # a file's name need not be UTF-8, nor the terminal; stderr does it so
        line_buffering=old.line_buffering,
    )


class _Output(FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # whoever read us has enough
            raise
        except OSError as error:
            raise OutputError(f"The output can't be written: {error.strerror}.") from error


def put(document: str | bytes) -> None:
    raw = document.encode(errors="surrogateescape") if isinstance(document, str) else document
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()
