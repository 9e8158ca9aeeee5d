"""Core: writes whole files: aside under a hidden name, then renamed, so that no reader sees half of one."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def opened_atomically(path: Path, *, mode: int | None = None, beside: Path | None = None) -> Iterator[BinaryIO]:
    """An empty file that replaces `path` when the block ends and is removed when it fails; `path`'s folder must exist.

    mode: permission bits; the process' usual ones when left out. beside: a path of the same file system, next to which
    the hidden file is kept instead of in `path`'s own folder. Raises OSError, with the old content intact.
    """
    place = beside or path
    aside = place.with_name(f".{place.name[:50]}.{os.urandom(6).hex()}.part")
    try:
        with aside.open("xb") as out:
            if mode is not None:
                os.fchmod(out.fileno(), mode)
            yield out
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Replaces `path`; as `opened_atomically`."""
    with opened_atomically(path, mode=mode) as out:
        out.write(data.encode() if isinstance(data, str) else data)


def rewrite(path: Path, data: bytes | str) -> None:
    """`write_atomically` for a file of the user's: a link stays a link, and permissions stay. Raises OSError."""
    target = path.resolve(strict=True)
    write_atomically(target, data, mode=stat.S_IMODE(target.stat().st_mode))


def upwards(near: Iterable[Path | str]) -> Iterator[Path]:
    """Each folder and its parents, nearest first."""
    for folder in near:
        here = Path(folder).absolute()
        yield from (here, *here.parents)
