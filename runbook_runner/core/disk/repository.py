"""Core, disk: the repository that a file is in. A clone brings links and names; what lies beside them may be its user's
own."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from runbook_runner.core.disk.git_index import is_of_user
from runbook_runner.core.disk.links import open_regular

REPOSITORY: Final = (".git", ".hg", ".runbook")
"""What marks the top folder of one."""
CLONED: Final = (".git", ".hg")
"""Of these, what a run does not make. It makes a `.runbook` in the folder where its user stands."""


def within_repository(file: Path, *, links: bool = True) -> Path:
    """Returns the real path of a file or folder. Raises OSError for a link that leads out of the clone that it is in,
    be it the file or a folder on the way to it: the clone may have brought it. Nor may such a link lead to what is
    hidden in the clone, or is there and did not come with it. Elsewhere, where an archive may have been unpacked whose
    top no one knows, no link may lead out of the folder that it is in. links: False for a folder to write to, where
    such a link leads nowhere: below what it leads to, a sandbox names the files."""
    path = file.absolute()
    if os.path.realpath(path) == str(path):
        return file
    top, followed = None, list[tuple[Path, Path]]()
    for part in (*reversed(path.parents), path):
        real = Path(os.path.realpath(part))
        if os.path.islink(part) and (bound := top or _unpacked_in(part, on_the_way=part != path)):  # noqa: PTH114
            what = "it" if part == path else str(part)
            if not real.is_relative_to(bound):
                raise OSError(errno.ELOOP, f"{what} is a link that leads out of {bound}", str(file))
            if not links:
                raise OSError(errno.ELOOP, f"{what} is a link, which may have come with {bound}", str(file))
            followed.append((part, bound))
        top = top if top and real.is_relative_to(top) else None  # `..` may have left it
        if _is_repository(real, CLONED):
            top = real
    for link, bound in followed:
        if not real.is_relative_to(bound):  # `..` after it has left it
            continue
        if any(name.startswith(".") and name not in file.parts for name in real.relative_to(bound).parts):
            raise OSError(errno.ELOOP, "it is behind a link to a hidden file or folder", str(file))
        if is_of_user(real, Path(os.path.realpath(link.parent), link.name)):
            raise OSError(errno.ELOOP, "it is behind a link to what is no file of its repository", str(file))
    return real


def _unpacked_in(link: Path, *, on_the_way: bool) -> Path | None:
    """The folder that an archive may have brought a link to; `None` for a link to a folder that is the user's own: it
    lies in the home or above it, or is root's and not below the current folder."""
    folder, current = Path(os.path.realpath(link.parent)), _current_folder()
    is_roots = link.lstat().st_uid == 0 != os.geteuid() and not (current and folder.is_relative_to(current))
    return None if on_the_way and (is_roots or holds_home(folder)) else folder


def open_found(file: Path) -> BinaryIO:
    """As `open_regular`; a link is followed as `within_repository` says."""
    return open_regular(within_repository(file))


def repository_of(folder: Path) -> Path:
    """Returns the real path of the nearest repository that a folder is in, which is never the home or above it; of the
    folder itself where there is none."""
    here = Path(os.path.realpath(folder))
    return next(filter(_is_repository, (here, *here.parents)), here)


def clone_of(folder: Path) -> Path | None:
    """Returns the real path of the nearest clone that a folder is in, or of the folder itself where there is none;
    `None` where that would be no project (see `is_no_project`). What is in it may have come with the folder; a run's
    `.runbook` above says nothing of that."""
    here = Path(os.path.realpath(folder))
    if is_no_project(here):
        return None
    return next((top for top in (here, *here.parents) if has_mark(top, CLONED) and not is_no_project(top)), here)


def came_with(folder: Path) -> Path:
    """Returns the real path of the outermost folder of which all may have come with this one: a repository that it is
    in or the current folder, where an archive may have been unpacked; else itself. What is in it may look like a
    repository of its own."""
    here, current = Path(os.path.realpath(folder)), _current_folder()
    tops = [top for top in (here, *here.parents) if _is_repository(top) or top == current]
    return tops[-1] if tops else here


def _is_repository(real: Path, marks: Iterable[str] = REPOSITORY) -> bool:
    """Whether this real path has a mark; never the home or above it."""
    return has_mark(real, marks) and not holds_home(real)


def _current_folder() -> Path | None:
    """Its real path; `None` for the home or above it, and for one that was removed."""
    try:
        here = Path.cwd()
    except OSError:
        return None
    return None if holds_home(here) else here


def holds_home(real: Path) -> bool:
    """Whether this real path is the user's home or a folder above it."""
    home = os.path.expanduser("~")  # noqa: PTH111 - a user without a home is not an error here: it stays `~`
    return os.path.isabs(home) and Path(os.path.realpath(home)).is_relative_to(real)  # noqa: PTH117


def is_no_project(real: Path) -> bool:
    """Whether the files in this real path have not come together: it is the home or a folder above it, or one where
    all users of this machine may put theirs, such as /tmp. A file that was put there may name nothing beside it."""
    try:
        mode = real.stat().st_mode
    except OSError:
        return True
    return holds_home(real) or (is_everybodys(mode) and (bool(mode & stat.S_ISVTX) or not _is_of_ci(real)))


def is_everybodys(mode: int) -> bool:
    """Whether it is the mode of a folder that all users may write to. One that a group may write to is shared by those
    whom an administrator has chosen, and often by its owner alone."""
    return stat.S_ISDIR(mode) and bool(mode & stat.S_IWOTH)


def _is_of_ci(real: Path) -> bool:
    """Whether GitLab's runner says that this real path is in the clone that it has made, without a umask. What lies in
    a folder does not tell: others may link or move there what belongs to this user."""
    clone = os.environ.get("CI_PROJECT_DIR", "")
    return os.path.isabs(clone) and real.is_relative_to(os.path.realpath(clone))  # noqa: PTH117


def has_mark(folder: Path, marks: Iterable[str] = REPOSITORY) -> bool:
    """Whether it is the top folder of a repository. Never raises: a folder above may be closed to this user."""
    return any(os.path.exists(folder / name) for name in marks)  # noqa: PTH110


def is_hidden(real: Path, folder: Path) -> bool:
    """Whether a name on the way from a folder to a real path below it begins with a dot. In a clone such files may be
    the user's own: `.env`, or `.git/config` with the password of an address."""
    return any(part.startswith(".") for part in real.relative_to(folder).parts)
