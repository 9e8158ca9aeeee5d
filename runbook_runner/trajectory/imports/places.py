"""Trajectory, imports: paths that others have chosen for files below a trajectory folder."""

import os
from pathlib import PurePosixPath
from typing import Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import printable_name
from runbook_runner.trajectory.folders import (
    AGENT,
    CHECKS,
    EVENTS_FILE,
    IMPORTED,
    INPUTS,
    JUDGE,
    LABELS_FILE,
    MISSION_FILE,
    RESULTS,
    SPEC_FILE,
    TRAJECTORY_FILE,
)
from runbook_runner.trajectory.sandbox_log import SANDBOX_LOG

_FILES: Final = frozenset({EVENTS_FILE, TRAJECTORY_FILE, SPEC_FILE, MISSION_FILE, LABELS_FILE, SANDBOX_LOG})
_FOLDERS: Final = frozenset({AGENT, "model", RESULTS, CHECKS, JUDGE, INPUTS, IMPORTED})
NOT_OF_RUNS: Final = "a run of this version has nothing of this name"
"""Why a file that is not `is_of_run` is left out."""
_MOST_NAME, _MOST_PATH = 255, 1024


def inner_path(text: str) -> PurePosixPath:
    """The path of a file below a trajectory folder. Raises InputError for one that leads elsewhere, or can't be: only
    results have control characters in their names."""
    path = PurePosixPath(text)
    parts = text.split("/")
    wrong = text.startswith("/") or any(part in ("", ".", "..") for part in parts) or parts[0].startswith(".")
    long = len(os.fsencode(text)) > _MOST_PATH or any(len(os.fsencode(part)) > _MOST_NAME for part in parts)
    odd = "\0" in text or (parts[0] != RESULTS and any(ord(letter) < 32 or ord(letter) == 127 for letter in text))
    if wrong or long or odd:
        shown = printable_name(text[:200])
        raise InputError(f"A file in a trajectory folder can't be {shown!r}.")
    return path


def is_of_run(path: PurePosixPath) -> bool:
    """Whether a trajectory folder has such a file, or such a folder with files. What else lies at its top could make
    the folder something that other programs believe."""
    return path.parts[0] in (_FOLDERS if len(path.parts) > 1 else _FILES)
