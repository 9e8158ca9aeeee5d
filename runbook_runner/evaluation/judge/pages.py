"""Evaluation, judge: the pages of a PDF file, read in a process of its own: the agent made it, it may be hostile."""

import json
import signal
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from runbook_runner.core.apart.process import OnCancel, started

MOST_PAGES: Final = 20
MOST_BYTES: Final = 50 << 20
MOST_SECONDS: Final = 30.0
_MOST_ANSWER: Final = 64 << 20
_PROGRAM: Final = Path(__file__).with_name("pages_program.py").read_text("utf-8")
_LIBRARY: Final = "pypdfium2"


class Page(NamedTuple):
    text: str
    picture: bytes
    """PNG; empty for a page that is not drawn."""


class Pages(NamedTuple):
    pages: tuple[Page, ...] = ()
    lack: str = ""
    """What of them is not here, and why; empty: they are all here."""
    seconds: float = 0.0
    """Of a processor; of a program that did not come to its end, those that have passed."""
    is_broken: bool = False
    """It is not a PDF file, or not a whole one."""
    is_unknown: bool = False
    """What reads PDF files is not installed."""


def pages_of(data: bytes, on_cancel: OnCancel, *, pictures: int, seconds: float = MOST_SECONDS) -> Pages:
    """The first pages of a PDF file, so many of them as pictures too. seconds: that it may take. Raises
    CancelledError."""
    found = find_spec(_LIBRARY)
    if found is None or not found.submodule_search_locations:
        lack = "a PDF, which is shown after `pip install '.[eval]'` in the clone of Runbook Runner"
        return Pages(lack=lack, is_unknown=True)
    if len(data) > MOST_BYTES:
        return Pages(lack=f"a PDF larger than {MOST_BYTES >> 20} MB")
    folder = str(Path(found.submodule_search_locations[0]).parent)
    asked = (folder, str(MOST_PAGES), str(pictures))
    began = time.monotonic()
    with started(_PROGRAM, *asked, seconds=seconds) as process, on_cancel(process.kill):
        assert process.stdin
        assert process.stdout
        with suppress(OSError):  # it has ended
            process.stdin.write(data)
            process.stdin.close()
        written = process.stdout.read(_MOST_ANSWER)
        process.kill()
    said = [*_lines(written)]
    pages = tuple(Page(page["text"], b64decode(page["picture"])) for page in said if "text" in page)
    end = said[-1] if said and "pages" in said[-1] else None
    if end is None:
        limit = "time" if process.returncode == -signal.SIGKILL else "memory"
        lack = f"the other pages: to read them takes more {limit} than is allowed"
        return Pages(pages, lack, time.monotonic() - began)
    if problem := end.get("problem"):
        return Pages(pages, f"a PDF that can't be read: {problem[:200]}", end["seconds"], is_broken=True)
    lack = f"pages {len(pages) + 1} to {end['pages']}" if end["pages"] > len(pages) else ""
    return Pages(pages, lack, end["seconds"])


def _lines(written: bytes) -> Iterator[dict[str, Any]]:
    """The last line may be half."""
    with suppress(ValueError):
        for line in written.splitlines():
            value = json.loads(line)
            if isinstance(value, dict):
                yield value
