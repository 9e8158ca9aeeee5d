"""Room `runbook`, `check`: what a project wants, from `.runbook/config.toml` or `pyproject.toml`, nearest upwards.

`[check]` in the one, `[tool.runbook.check]` in the other: `profile`, `select`, `ignore` and `per-file-ignores`, a
table of glob → codes; a glob is relative to the project's folder, or a bare name that counts in every folder below.
"""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import table_in
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.check.rules import PROFILES, Profile, codes

_KEYS = ("profile", "select", "ignore", "per-file-ignores")
_MOST_GLOBS = 1000  # each file is matched by each of them


class Config(NamedTuple):
    folder: Path = Path()
    """The project's; absolute."""
    profile: Profile | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    def ignored_in(self, file: str) -> tuple[str, ...]:
        """Codes the project ignores in this file; file: absolute path."""
        if not self.per_file:
            return ()
        relative = os.path.relpath(file, self.folder).replace(os.sep, "/")
        name = relative.rpartition("/")[2]
        hits = (
            codes for glob, codes in self.per_file.items() if fnmatchcase(relative, glob) or fnmatchcase(name, glob)
        )
        return tuple(code for found in hits for code in found)


def config_for(folder: Path) -> Config:
    """folder: absolute. Raises InputError with the file for a setting that can't be read."""
    return next(filter(None, map(_config_in, (folder, *folder.parents))), Config())


def forget_configs() -> None:
    """They are read anew the next time."""
    _config_in.cache_clear()


@cache
def _config_in(folder: Path) -> Config | None:
    table = table_in(folder, "check")
    return _read(table.values, folder, table.path) if table else None


def _read(table: Mapping[str, Any], folder: Path, path: str) -> Config:
    given = {key.replace("_", "-"): value for key, value in table.items()}
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        hint = did_you_mean(unknown[0], _KEYS) or f"There are {', '.join(_KEYS)}."
        raise InputError(f"There is no setting {unknown[0]!r} for `check`.", where=path, hint=hint)
    profile = given.get("profile")
    if profile is not None and profile not in PROFILES:
        hint = did_you_mean(str(profile), PROFILES) or f"There are {', '.join(PROFILES)}."
        raise InputError(f"There is no profile {profile!r}.", where=path, hint=hint)
    per_file = given.get("per-file-ignores", {})
    if not isinstance(per_file, dict):
        raise InputError("`per-file-ignores` must be a table: glob → list of codes.", where=path)
    if len(per_file) > _MOST_GLOBS:
        raise InputError(f"`per-file-ignores` has more than {_MOST_GLOBS} globs.", where=path)
    return Config(
        folder=folder,
        profile=profile,
        select=_codes(given.get("select", []), "select", path),
        ignore=_codes(given.get("ignore", []), "ignore", path),
        per_file={glob: _codes(value, "per-file-ignores", path) for glob, value in per_file.items()},
    )


def _codes(value: Any, key: str, path: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f'`{key}` must be a list of codes, like ["RB3", "RB401"].', where=path)
    try:
        return codes(value)
    except InputError as error:
        raise InputError(error.message, where=path, hint=error.hint) from error
