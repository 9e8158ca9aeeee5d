"""Room `runbook`: a text from anywhere on somebody's terminal: how wide it is, and what of it must not get there."""

import re
import unicodedata

_NO_WIDTH = ("Mn", "Me", "Cf")  # marks that go onto the letter before them, joiners, directions

# The second row turns the direction of what follows: a line would not read as it is.
_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def harmless(text: str) -> str:
    """Without what moves the cursor, colours or turns what follows; tabs and line feeds stay."""
    return _STEERING.sub("�", text)


def width(text: str) -> int:
    """In terminal cells: Chinese, Japanese and Korean letters and most emoji take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_of_letter, text))


def _of_letter(letter: str) -> int:
    if unicodedata.category(letter) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
