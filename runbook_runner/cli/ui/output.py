"""Command line: where a command's output goes: standard output, whose failures are reported, and files.

Nothing that was written elsewhere (by an agent, in a runbook, as the name of a file) reaches the terminal as a control
character: the standard streams replace them in every text that is written. What may have some goes through a function
of this module: styles, documents, JSON. Consoles of rich are made in `console.py`.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO

from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError, NotReadyError, RunbookError
from runbook_runner.core.files import is_file, is_folder, make_folder, rewrite, write_atomically
from runbook_runner.core.text import printable, size_shown

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_BLOCK: Final = 1 << 20
_NAMES: Final = "surrogateescape"  # of files: their bytes may not be UTF-8
_STYLE: Final = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_COMMAND: Final = re.compile(r"^((?:\x1b\[[0-9;]{0,40}m|[^\S\n])*+:)(?=:)|##(?=\[)", re.MULTILINE)
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


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
    return PrintableStream(
        BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=old.encoding if old else "utf-8",
        errors="backslashreplace",  # names of files may not be UTF-8, nor the terminal
        # PYTHONUNBUFFERED makes streams that write through and have no lines.
        line_buffering=descriptor == 2 or (old is not None and (old.line_buffering or old.write_through)),
    )


class PrintableStream(TextIOWrapper):
    """A standard stream. It replaces what moves the cursor, colours or turns what follows; line feeds and tabs stay."""

    def write(self, text: str, /) -> int:
        return super().write(_without_commands(printable(text)))

    def write_styled(self, text: str) -> int:
        """Writes text in which this program has put styles and cursor movements."""
        return super().write(_without_commands(text))


def _without_commands(text: str) -> str:
    """In a step of GitHub Actions, the text without commands to the workflow: its runner obeys lines that begin with
    `::`, and `##[` anywhere, whoever has written them. A space without width takes the meaning away."""
    return _COMMAND.sub("\\g<0>\u200b", text) if os.environ.get("GITHUB_ACTIONS") == "true" else text


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


def put_styled(text: str) -> None:
    """Writes text to standard output in which this program has put styles. What else it holds must be printable."""
    parts = _STYLE.split(text)  # every second one is a style
    shown = "".join(part if number % 2 else printable(part) for number, part in enumerate(parts))
    _write(_without_commands(shown).encode(errors=_NAMES))


def put_json(body: Any, *, indent: int | None = None) -> None:
    is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    text = json.dumps(body, indent=indent, ensure_ascii=not is_utf8)
    # JSON leaves these as they are, and a terminal or a workflow obeys them.
    escaped = _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).replace("##[", "##\\u005b")
    sys.stdout.write(escaped + "\n")


@contextmanager
def after_json() -> Iterator[None]:
    """An error of this block comes after the JSON that the command has printed, if it prints any."""
    try:
        yield
    except RunbookError as error:
        error.follows_json = True
        raise


def put(document: str | bytes) -> None:
    """Writes a document to standard output, byte for byte; to a terminal, as far as it is printable."""
    raw = document.encode(errors=_NAMES) if isinstance(document, str) else document
    _write(printable(raw.decode(errors=_NAMES)).encode(errors=_NAMES) if sys.stdout.isatty() else raw)


def put_stream(content: BinaryIO) -> None:
    """As `put`, for what may be large."""
    while block := content.read(_BLOCK):
        put(block)


def _write(raw: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()


def write_new(file: Path, text: str, *, makes_folder: bool = False) -> None:
    """Raises InputError when the file can't be written, also behind a link, see `within_repository`."""
    try:
        folder = within_repository(file.parent, links=False)
        if makes_folder:
            make_folder(folder)
        write_atomically(folder / file.name, text)
    except OSError as error:
        raise _unwritable(file, error) from error


def require_place(file: Path, what: str = "report", *, force: bool = True) -> None:
    """Before the work whose report is to be written there: makes its folder. force: a file that is there is replaced.
    Raises InputError."""
    if is_folder(file):
        raise InputError(f"This is a folder, and the {what} is a file.", where=str(file))
    require_new(file, force=force)
    try:
        folder = within_repository(file.parent, links=False)
        make_folder(folder)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"The {what} can't be written there: {error.strerror}.", where=str(file)) from error


def require_new(file: Path, *, force: bool) -> None:
    """force: a file that is there is replaced; a device or a pipe never is, as /dev/stdout. Raises InputError."""
    if os.path.exists(file) and not is_file(file):  # noqa: PTH110 - it never raises
        raise InputError("This is not a regular file, so it is not replaced.", where=str(file), hint="Name a file.")
    if not force and is_file(file):
        hint = "Choose another name, or add --force to replace it."
        raise InputError("There is such a file already; it stays as it is.", where=str(file), hint=hint)


def tell_written(file: Path, what: str) -> None:
    """On one line, where a document went that did not go to standard output."""
    sys.stdout.write(f"Wrote {what}: {file.resolve()} ({size_shown(file.stat().st_size)})\n")


def write_back(file: Path, content: str | bytes) -> None:
    """Replaces the content of a file that exists. Raises InputError when it can't be written."""
    try:
        rewrite(file, content)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"The file can't be written: {error.strerror}.", where=str(file))
