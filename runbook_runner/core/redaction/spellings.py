"""Core, redaction: the ways in which one known value may be written, as expressions over bytes.

Letters and digits are the same in almost every encoding of text; any other character has a list of spellings: JSON,
JSON in JSON up to four times, URL, HTML, shell quoting. Between two characters there may be a NUL (UTF-16) or a line
end (wrapped text). Base64 and hex are sequences of letters and digits of their own. Nobody hides anything here: these
are accidents.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from html.entities import codepoint2name
from typing import Final
from urllib.parse import quote

from runbook_runner.core.redaction.strength import core, is_searched, is_weak

_GAP: Final = rb"(?:(?:[\0\r\n]|\\{1,8}[rn]){1,6}[ \t]{0,32})?+"
_HEX_GAP: Final = rb"(?:[\0\r\n\t :,-]|0x|\\{1,4}[xrn]){0,12}+"
_BEFORE: Final = rb"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbfv]))"
_AFTER: Final = rb"(?![A-Za-z0-9_])"
_MIN_BASE64: Final = 8
_MIN_HEX_BYTES: Final = 6
_MIN_LINE: Final = 16
_LONGEST: Final = 1024
"""Characters: a longer value is searched in pieces, whose spans meet because they overlap; its lines as well."""
_OVERLAP: Final = 64
_REPEATED: Final = 64
"""Times."""
_ESCAPED: Final = {"\a": b"a", "\b": b"b", "\t": b"t", "\n": b"n", "\v": b"v", "\f": b"f", "\r": b"r", "\x1b": b"e"}
_LIKE_SPACE: Final = "+\\%&\a\b\x1b"
_SPELT_ALIKE: Final = re.compile(rf"[\s\0{re.escape(_LIKE_SPACE)}]")
_RUN: Final = re.compile(rb"[A-Za-z0-9]+")


class Form:
    """One encoding of one value."""

    def __init__(self, name: str, expression: Iterator[bytes], literal: bytes, *, weak: bool, number: bool = False):
        """expression: its parts, made when they are needed. literal: the form when nothing is in between."""
        self.name = name
        self.weak = weak
        self.number = number
        """The value is a number, which JSON writes without quotes."""
        self.literal = literal
        self._expression = expression

    @cached_property
    def anchor(self) -> bytes:
        """The longest part that is the same in every spelling."""
        return max(_RUN.findall(self.literal), key=len, default=b"")

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        return re.compile(b"".join(self._expression))


def forms(name: str, value: str) -> Iterator[Form]:
    """Yields the forms of a value, and of each long line of it."""
    if not is_searched(value):
        return
    lines = value.splitlines()
    several = [line for line in lines if len(line) >= _MIN_LINE and not line.startswith("-----")]
    for text in dict.fromkeys([core(value), *map(core, several if len(lines) > 1 else ())]):
        yield from _forms(name, text)


def literals(value: str) -> Iterator[str]:
    """Yields the usual spellings as plain text, longest first where one begins another."""
    text = core(value)
    yield from dict.fromkeys(
        (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote_all(text))
    )


def quote_all(text: str) -> str:
    return quote(_raw(text), safe="")


def _forms(name: str, text: str) -> Iterator[Form]:
    weak, number = is_weak(text), text.isascii() and text.isdecimal() and len(text) <= _LONGEST
    for piece in _pieces(text):
        yield Form(name, _plain(piece, weak, number), _raw(piece), weak=weak, number=number)
        for other in () if weak else {piece.lower(), piece.upper()} - {piece}:
            yield Form(name, _plain(other, weak, number), _raw(other), weak=weak)
    raw = _raw(text)
    for encoded in dict.fromkeys((*_base64(raw), *_base64(text.encode("utf-16-le", "surrogatepass")))):
        for piece in _pieces(encoded.decode()):
            yield Form(name, _base64_expression(piece), piece.encode(), weak=False)
    if len(raw) >= _MIN_HEX_BYTES:
        for digits in dict.fromkeys((raw.hex(), raw.hex().upper())):
            for piece in _pieces(digits):
                yield Form(name, _hex_expression(piece), piece.encode(), weak=False)


def _pieces(text: str) -> Iterator[str]:
    last = max(0, len(text) - _LONGEST)
    for start in (*range(0, last, _LONGEST - _OVERLAP), last):
        yield from dict.fromkeys(_begun_once(text[start : start + _LONGEST]))


def _begun_once(piece: str) -> Iterator[str]:
    """The piece; of one that begins with a long repetition a part of that, and the piece with as much of it. In a text
    that repeats the same, a search would go through all of it from every place. What may be spelt alike counts as the
    same."""
    kinds = _SPELT_ALIKE.sub(" ", piece) if len(piece) >= _REPEATED else ""
    borders, border, cut, part = [0], 0, 0, len(piece)
    for length, kind in enumerate(kinds[1:], start=2):
        while border and kinds[border] != kind:
            border = borders[border - 1]
        border += kinds[border] == kind
        borders.append(border)
        period = length - border
        if length >= _REPEATED * period:
            part = _REPEATED // 2 * period
            cut = length - part
    yield piece[cut - cut % 2 :]
    yield piece[:part]


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass") if _has_pair(text) else text.encode("utf-8", "surrogateescape")


def _has_pair(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff" for letter in text)


# --- plain text ----------------------------------------------------------------------------------------------------


def _plain(text: str, weak: bool, number: bool) -> Iterator[bytes]:
    if weak and _is_word(text[0]):
        yield _BEFORE
    elif number:
        yield rb"(?<![0-9])"
    units = _units(text)
    for position, unit in enumerate(units):
        if position and not weak:
            yield _gap_before(unit)
        after_backslash = position > 0 and units[position - 1].startswith("\\")
        yield _unit(unit, after_backslash=after_backslash, following=units[position + 1 : position + 2])
    if weak and _is_word(text[-1]):
        yield _AFTER
    elif number:
        yield rb"(?![0-9])"


def _gap_before(unit: str) -> bytes:
    """A gap is taken as a whole, so it must not take what the unit begins with."""
    if unit.startswith("\\"):
        return rb"[\0\r\n]{0,4}+"
    return rb"\0{0,3}+" if unit.isspace() else b"" if "\0" in unit else _GAP


def _units(text: str) -> list[str]:
    """Single characters, but several backslashes together: each may be written as several."""
    return re.findall(r"\\+|[\s\0]+|.", text, re.DOTALL)


def _unit(unit: str, *, after_backslash: bool = False, following: Sequence[str] = ()) -> bytes:
    """following: the next unit, if any."""
    if unit.startswith("\\"):
        count = len(unit)
        escaped = rb"%5[Cc]|%255[Cc]|&#92;|&#[xX]5[cC];|\\{1,8}u005[cC]"
        return rb"(?:\\{%d,%d}|(?:%s){%d})" % (count, 16 * count, escaped, count)
    if unit.isspace() or "\0" in unit:
        either = b"|".join(_spellings(letter) for letter in dict.fromkeys(unit))
        one = rb"[\s\0]|\\{1,8}[nrtbfv]|\+|%%20|%%0[9AaDd]|&nbsp;|&#1[03];|\\{0,16}(?:%s)" % either
        if not following or following[0][0] not in _LIKE_SPACE:
            return rb"(?:%s){1,%d}+" % (one, 4 * len(unit))
        # What comes next may look like an escaped space: it is taken for one only as often as there are spaces.
        return rb"(?:%s){1,%d}+(?:(?!%s)(?:%s)){0,%d}+" % (one, len(unit), _unit(following[0]), one, 3 * len(unit))
    if unit.isascii() and unit.isalnum():
        return unit.encode()
    before = rb"" if after_backslash else rb"\\{0,16}"
    return rb"(?:%s(?:%s))" % (before, _spellings(unit))


def _spellings(letter: str) -> bytes:
    """The alternatives for one character that is not a letter or digit of ASCII."""
    raw, code = _raw(letter), ord(letter)
    found = [re.escape(raw)]
    if letter in "'\"":
        found = [rb"'\"'\"'", rb"'\\{1,2}''", re.escape(raw * 2), *found]
    percent = "".join(f"%{byte:02x}" for byte in raw)
    found += [_any_case(percent), _any_case(percent.replace("%", "%25"))]
    found += [
        _any_case(f"{amp}#{number};") for amp in ("&", "&amp;") for number in (f"{code}", f"x{code:x}", f"0{code}")
    ]
    if code in codepoint2name:
        found += [b"&%s;" % codepoint2name[code].encode(), b"&amp;%s;" % codepoint2name[code].encode()]
    if letter == "'":
        found.append(b"&apos;")
    if letter in _ESCAPED:
        found.append(rb"(?<=\\)" + _ESCAPED[letter])
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    found.append(rb"(?<=\\)" + rb"\\{1,4}".join(_any_case(f"u{units[n : n + 4]}") for n in range(0, len(units), 4)))
    if code < 256:
        found += [rb"(?<=\\)" + _any_case(f"x{code:02x}"), rb"(?<=\\)%03o" % code, re.escape(bytes([code]))]
    if code >= 128:
        found += [re.escape(letter.encode(f"utf-16-{end}", "surrogatepass")) for end in ("le", "be")]
        found.append(rb"(?<=\\)" + rb"\\{1,4}".join(_any_case(f"x{byte:02x}") for byte in raw))
        found.append(rb"(?<=\\)" + rb"\\{1,4}".join(b"%03o" % byte for byte in raw))
    if "\ud800" <= letter <= "\udfff":
        found += [letter.encode("utf-8", "surrogatepass"), "�".encode()]
    return b"|".join(dict.fromkeys(found))


def _any_case(text: str) -> bytes:
    return rb"(?i:%s)" % re.escape(text.encode())


def _is_word(letter: str) -> bool:
    return letter == "_" or (letter.isascii() and letter.isalnum())


# --- base64 and hex ------------------------------------------------------------------------------------------------


def _base64(raw: bytes) -> Iterator[bytes]:
    """What base64 of a longer text shows of `raw` at each of the three alignments: the characters that depend on
    `raw` alone."""
    for before in range(3):
        bits = (len(raw) + before) * 8
        form = base64.b64encode(b"\0" * before + raw)[-(-before * 8 // 6) : bits // 6]
        if len(form) >= _MIN_BASE64:
            yield form


def _base64_expression(encoded: str) -> Iterator[bytes]:
    other = {"+": rb"(?:[+-]|%2[Bb])", "/": rb"(?:\\{0,4}[/_]|%2[Ff])"}
    for position, letter in enumerate(encoded):
        yield (_GAP if position else b"") + other.get(letter, letter.encode())


def _hex_expression(digits: str) -> Iterator[bytes]:
    for position in range(0, len(digits), 2):
        high, low = (digit.encode() for digit in digits[position : position + 2])
        yield (_HEX_GAP if position else b"") + high + rb"\0{0,3}" + low
