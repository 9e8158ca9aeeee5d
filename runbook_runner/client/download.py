"""Client: downloads files of a run: each is written aside and goes on where an earlier download has ended."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

from runbook_runner.client.platform import Answer, NotFoundError, Platform, PlatformError
from runbook_runner.core.disk.private import private_opener
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.files import is_file
from runbook_runner.core.text import printable_name

PART: Final = ".part"

Report = Callable[[int, int | None], None]
"""Gets the bytes of a file that are there, and all it will have, `None` when the platform does not say."""


def download(platform: Platform, key: str, target: Path, most: int, report: Report = lambda _have, _all: None) -> int:
    """Downloads the file with that storage key; returns its size. What is there already stays: a whole `target`, and
    the beginning of one in `target`.part. most: bytes it may have. Raises PlatformError, NotFoundError, and InputError
    for a file that is larger."""
    if is_file(target):
        size = target.stat().st_size
        _require_room(key, size, most)
        return size
    part = target.with_name(target.name + PART)
    platform.trying(lambda: _go_on(platform, key, part, most, report))
    part.replace(target)
    return target.stat().st_size


def remove_others(folder: Path, targets: Iterable[Path]) -> None:
    """Removes what earlier downloads into the folder have left of other files than these."""
    wanted = {name for target in targets for name in (target.name, target.name + PART)}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def _go_on(platform: Platform, key: str, part: Path, most: int, report: Report) -> None:
    path = "/api/v1/file/" + "/".join(quote(piece, safe="") for piece in key.split("/"))
    have = part.stat().st_size if is_file(part) else 0
    what = f"the file {printable_name(key[:300])}"
    try:
        with platform.asked("GET", path, what, start=have, is_long=True) as answer:
            _save(answer, key, part, have, most, report)
    except NotFoundError:
        part.unlink(missing_ok=True)  # else a platform could have any number of them written
        raise
    except PlatformError as error:
        if have and error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # what is there is not of this file
            part.unlink()
            error.may_pass = True
        raise


def _save(answer: Answer, key: str, part: Path, have: int, most: int, report: Report) -> None:
    start = have if answer.status == 206 and _first_byte(answer) == have else 0
    if answer.status == 206 and start != have:
        part.unlink(missing_ok=True)
        error = PlatformError("The platform sent another part of the file than it was asked for.")
        error.may_pass = True
        raise error
    whole = None if answer.length is None else start + answer.length
    if whole is not None:
        _require_room(key, whole, most)
    try:
        with open(part, "ab" if start else "wb", opener=private_opener) as out:
            for block in answer.blocks:
                start += len(block)
                _require_room(key, start, most)
                out.write(block)
                report(start, whole)
    except OSError as error:
        raise RecordingError.of(error, part) from error


def _first_byte(answer: Answer) -> int:
    """-1 when the answer does not say it."""
    first = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() and len(first) < 20 else -1


def _require_room(key: str, size: int, most: int) -> None:
    if size > most:
        raise InputError(
            f"The file {printable_name(key[:300])} would take the run's files above their limit.",
            hint="--max-size SIZE allows more.",
        )
