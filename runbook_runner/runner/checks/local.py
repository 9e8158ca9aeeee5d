"""Runner, checks: a check source that is a folder of this machine. It may have come with a stranger's project, and its
configuration names programs, so no git works in it: git reads a stand-in, which has our configuration, its references
and a pointer to its objects."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runbook_runner.core.disk.links import copy_tree, open_regular
from runbook_runner.runner.checks.sources import GitSource

_MOST: Final = 200_000
"""Files and folders of a repository."""
_MOST_BYTES: Final = 64 << 20
"""Of its references."""
# They lead to objects and references elsewhere: gitrepository-layout of git.
_LEADS_OUT: Final = ("commondir", "objects/info/alternates", "objects/info/http-alternates")


def make_repository(folder: Path, *, sha256: bool = False) -> None:
    """An empty bare one, unless it is there; without git, whose templates and defaults are others'. Raises OSError."""
    if folder.exists():
        return
    for name in ("objects/info", "refs"):
        (folder / name).mkdir(parents=True)
    version, more = (1, "[extensions]\n\tobjectFormat = sha256\n") if sha256 else (0, "")
    config = f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n"
    # Git maps packs into its memory, of which it does not have much.
    config += "\tpackedGitWindowSize = 32m\n\tpackedGitLimit = 256m\n"
    (folder / "config").write_text(config + more)
    (folder / "HEAD").write_text("ref: refs/heads/none\n")


def fill_stand_in(source: GitSource, stand_in: Path) -> None:
    """stand_in: a new bare repository. Raises InputError for what is no repository of its own, and OSError."""
    assert source.folder
    git = _folder_of_git(source, source.folder)
    _require_own(source, git)
    for name in ("HEAD", "packed-refs"):
        if (git / name).exists():
            with open_regular(git / name) as file:
                (stand_in / name).write_bytes(file.read(_MOST_BYTES))
    if (git / "refs").is_dir():
        copy_tree(git / "refs", stand_in / "refs")
    (stand_in / "objects/info/alternates").write_bytes(os.fsencode(git / "objects") + b"\n")


def _folder_of_git(source: GitSource, folder: Path) -> Path:
    inner = folder / ".git"
    if os.path.lexists(inner):
        if not stat.S_ISDIR(inner.lstat().st_mode):
            raise source.wrong("has its `.git` elsewhere, as a submodule and a working tree have.", "Name that one.")
        folder = inner
    if "\n" in str(folder):
        raise source.wrong("has a line end in its path.")
    if not (folder / "HEAD").is_file() or not (folder / "objects").is_dir():
        raise source.wrong(f"is no git repository: {source.folder}.")
    return folder


def _require_own(source: GitSource, git: Path) -> None:
    """All that git would read is in the folder itself."""
    for name in _LEADS_OUT:
        if os.path.lexists(git / name):
            raise source.wrong(f"has a part of itself elsewhere: {name} says where.", "Make a whole clone of it.")
    for number, entry in enumerate(_entries(git)):
        if entry.is_symlink():
            raise source.wrong(f"has a link in it: {os.path.relpath(entry.path, git)!a}.", "Make a whole clone of it.")
        if number >= _MOST:
            raise source.wrong(f"has more than {_MOST:,} files.", "`git gc` packs them.")


def _entries(top: Path) -> Iterator["os.DirEntry[str]"]:
    folders = [str(top)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
