"""Command line: `runbook runs open`. A result is data of a hostile agent: nothing of it is ever executed."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put, put_stream
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.programs import find_program
from runbook_runner.core.text import counted, printable, printable_name
from runbook_runner.trajectory.files import named_file, result_files
from runbook_runner.trajectory.store import require_no_links

DESCRIPTION = """\
Without RESULT it is the primary output, or the first file where the runbook names none. When stdout is not a terminal,
the file is printed byte for byte. On a terminal, text is shown in $PAGER (or printed), and images, PDF, sound and
documents without macros are opened by the desktop's program for them, when there is a desktop. An HTML or SVG file can
run scripts: it goes to the browser only when RESULT names it. No other file is opened, only its place is told: no
program, no .desktop file, no archive.

Exit codes: 0 opened, printed or its place told, 2 bad input (no such run, no such file, no primary output).
"""

_SIGNATURES: Final[dict[str, tuple[bytes, ...]]] = {
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".gif": (b"GIF87a", b"GIF89a"),
    ".webp": (b"RIFF",),
    ".bmp": (b"BM",),
    ".pdf": (b"%PDF-",),
    ".xlsx": (b"PK\x03\x04",),
    ".docx": (b"PK\x03\x04",),
    ".pptx": (b"PK\x03\x04",),
    ".wav": (b"RIFF",),
    ".mp3": (b"ID3", b"\xff\xfb", b"\xff\xf3"),
    ".ogg": (b"OggS",),
}
"""What a desktop may open, and how such a file begins: one that begins otherwise is not what its name says."""
_WITH_SCRIPTS: Final = (".html", ".htm", ".svg")
_MOST_PAGED: Final = 16 << 20
_HEAD: Final = 1 << 16


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    path = "A file that the run has made, as `runbook runs files` names it; `results/` may be left out."
    parser.add_argument("path", nargs="?", metavar="RESULT", help=path)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError."""
    folder = folder_of(arguments.run)
    name = named_file(result_files(folder), arguments.path, folder).path
    require_no_links(folder)
    file = folder / name
    try:
        with open_regular(file) as content:
            _open(file, content, is_named=arguments.path is not None)
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror}.", where=str(file)) from error
    return ExitCode.PASS


def _open(file: Path, content: BinaryIO, *, is_named: bool) -> None:
    if not sys.stdout.isatty():
        put_stream(content)
        return
    head = content.read(_HEAD)
    content.seek(0)
    suffix = PurePosixPath(file.name).suffix.lower()
    is_passive = head.startswith(_SIGNATURES.get(suffix, ())) and not os.access(file, os.X_OK)
    opener = _desktop()
    if opener and (is_passive or (is_named and suffix in _WITH_SCRIPTS)):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([opener, os.path.realpath(file)], check=False, **quiet)  # type: ignore[call-overload]
    elif b"\0" not in head and _is_text(head):
        _page(content)
    else:
        size = counted(os.fstat(content.fileno()).st_size, "byte")
        sys.stdout.write(f"It is not opened, for it is not text ({size}): {printable_name(str(file))}\n")


def _desktop() -> str | None:
    if sys.platform == "darwin":
        return find_program("open")
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return find_program("xdg-open") if has_display else None


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start > _HEAD - 4
    return True


def _page(content: BinaryIO) -> None:
    """The pager gets printable text on its standard input: for a file with a name, `less` may call other programs."""
    raw = content.read(_MOST_PAGED)
    text = printable(raw.decode(errors="replace"))
    more = os.fstat(content.fileno()).st_size - len(raw)
    text += f"\n… {counted(more, 'more byte')}\n" if more > 0 else ""
    try:
        words = shlex.split(os.environ.get("PAGER") or "")
    except ValueError:
        words = []
    program = find_program(words[0] if words else "less")
    if program is None:
        put(text)
        return
    # Without LESSOPEN, a program that `less` would start; and so that the pager ends by itself when all fits.
    environment = {key: value for key, value in os.environ.items() if key not in ("LESSOPEN", "LESSCLOSE")}
    environment.setdefault("LESS", "-FX")
    subprocess.run([program, *words[1:]], input=text.encode(errors="replace"), env=environment, check=False)
