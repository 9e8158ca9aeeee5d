"""Core, redaction: values that ordinary text may hold by chance."""

import re
from typing import Final

MIN_VALUE: Final = 4
"""Characters: a shorter value would destroy ordinary text and is not searched."""
_SAFE: Final = 8
_LONGEST_WORD: Final = 12
_WORD: Final = re.compile(r"[A-Za-z]+")
_CONSTANTS: Final = frozenset({"true", "false", "null", "none", "undefined"})


def core(value: str) -> str:
    """Returns what is searched of a value: a line end or a space at its ends is not written everywhere."""
    return value.strip(" \t\r\n\0")


def is_searched(value: str) -> bool:
    return len(core(value)) >= MIN_VALUE and core(value).casefold() not in _CONSTANTS


def is_weak(value: str) -> bool:
    """Whether a value is found only as a word of its own, and only in free text."""
    text = core(value)
    return len(text) < _SAFE or (len(text) <= _LONGEST_WORD and bool(_WORD.fullmatch(text)))


def weakness(name: str, value: str) -> str | None:
    """Returns a sentence that warns of a value which can't be removed everywhere; `None` for a good one."""
    if not is_searched(value):
        return f"The value of {name} is too short or too common to be removed from what is recorded."
    if is_weak(value):
        what = f"is shorter than {_SAFE} characters" if len(core(value)) < _SAFE else "may be an ordinary word"
        return f"The value of {name} {what}: it is removed only where it stands as a word of its own in free text."
    return None
