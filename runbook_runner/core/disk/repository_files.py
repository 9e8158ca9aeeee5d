"""Core, disk: the files of a stranger that would make a folder of this machine a repository. No writer of files that a
sandbox, an archive or a platform has named lets them through."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_REPOSITORIES: Final = (".git", ".hg", ".jj")
"""Their configuration names programs, which git starts for its user's `git status`, also in a folder above. That is why
git itself lets no clone bring a `.git`."""
_HEAD: Final = re.compile(rb"ref:|[0-9a-fA-F]{40}")
"""How a file HEAD begins by which git takes the folder for a repository of its own (setup.c, is_git_directory). The
rest may be elsewhere: `commondir` says where, and an executable file will do for `objects` and `refs`."""
_HEAD_BYTES: Final = 40
_NAMES_PROGRAMS: Final = "configuration could name programs of this machine; pack it into an archive"
IN_REPOSITORY: Final = f"its {_NAMES_PROGRAMS}"
"""Why a file that `repository_in` finds is left out."""


class HeadError(Exception):
    """The file is the HEAD of a repository. Its text is why it is left out."""

    def __init__(self) -> None:
        super().__init__(f"with it the folder could be a repository, whose {_NAMES_PROGRAMS}")


class HeadGuard:
    """Looks at the content of one file as it is written."""

    def __init__(self, name: str):
        self._may_be_head = _plain(name) == "head"
        self._beginning = b""

    def look(self, block: bytes) -> None:
        """block: what comes next. Raises HeadError."""
        if self._may_be_head and len(self._beginning) < _HEAD_BYTES:
            self._beginning += block[: _HEAD_BYTES - len(self._beginning)]
            if _HEAD.match(self._beginning):
                raise HeadError


def repository_in(parts: Sequence[str]) -> int:
    """How many parts of a path lead to the folder (or file) of a repository; 0 when it is not in one."""
    return next((depth for depth, part in enumerate(parts, start=1) if _plain(part) in _REPOSITORIES), 0)


def _plain(name: str) -> str:
    """As file systems compare it that tell no capital letters apart, and ignore what is not shown."""
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf").casefold()
