"""Core: regular expressions from files: in the syntax of RE2, which searches in time that grows with the text alone.

Python's `re` may take for ever with `(a+)+$`, and no signal or deadline ends it.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from runbook_runner.core.text import encodable

if TYPE_CHECKING:
    import re2

_MOST_CHARACTERS: Final = 1000
_MOST_STEPS: Final = 5000  # of the compiled pattern: each character of a text may take so many
_MEMORY: Final = 1 << 20


def check_pattern(pattern: str) -> str:
    """Returns the pattern. Raises ValueError with a sentence for people when it can't be used."""
    _compiled(pattern, ignore_case=False)
    return pattern


def finds(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether the pattern, which `check_pattern` has taken, is found in the text."""
    return _compiled(pattern, ignore_case=ignore_case).search(encodable(text)) is not None


def fits(pattern: str, text: str) -> bool:
    """Whether such a pattern matches the whole text."""
    return _compiled(pattern, ignore_case=False).fullmatch(encodable(text)) is not None


def without(pattern: str, text: str) -> str:
    """Returns the text less all that such a pattern matches; lone surrogates stay what they are."""
    compiled, searched = _compiled(pattern, ignore_case=False), encodable(text)
    if searched == text or len(searched) != len(text):
        left: str = compiled.sub("", searched)
        return left
    kept, end = list[str](), 0
    for match in compiled.finditer(searched):
        kept.append(text[end : match.start()])
        end = match.end()
    return "".join((*kept, text[end:]))


@lru_cache(maxsize=64)
def _compiled(pattern: str, *, ignore_case: bool) -> "re2._Regexp[str]":
    import re2  # takes 20 ms, and few files have patterns

    if len(pattern) > _MOST_CHARACTERS:
        raise ValueError(f"This regular expression is longer than {_MOST_CHARACTERS} characters.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.case_sensitive = not ignore_case
    try:
        compiled = re2.compile(encodable(pattern), options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(
            f"This is not a regular expression of RE2 (which has no look-around and no back-references): {reason}."
        ) from None
    if compiled.programsize > _MOST_STEPS:
        raise ValueError("This regular expression is too large: it repeats too much.")
    return compiled
