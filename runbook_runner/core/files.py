"""The one place that writes whole files: aside, then renamed, so that nobody ever sees half of one; and the one way to
look for what lies near a folder, and to show a name."""

import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Replaces `path`; its folder must exist. Raises OSError, with the old content intact.

    mode: permission bits; the process' usual ones when left out.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)
        if mode is not None:
            aside.chmod(mode)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def rewrite(path: Path, data: bytes | str) -> None:
    """`write_atomically` for a file that is somebody's: a link stays a link, and permissions stay. Raises OSError."""
    target = path.resolve(strict=True)
    write_atomically(target, data, mode=stat.S_IMODE(target.stat().st_mode))


def upwards(near: Iterable[Path | str]) -> Iterator[Path]:
    """Each folder, and those it is in, nearest first."""
    for folder in near:
        here = Path(folder).absolute()
        yield from (here, *here.parents)


def shown(name: str) -> str:
    """A name for people, on one line: whoever chose it shall not write lines of his own, nor move a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name)
