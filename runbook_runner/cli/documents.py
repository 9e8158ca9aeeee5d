"""Command line: a document or a patch on stdout: its own bytes, whatever encoding the terminal has."""

import sys


def put(document: str | bytes) -> None:
    raw = document.encode(errors="surrogateescape") if isinstance(document, str) else document
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()
