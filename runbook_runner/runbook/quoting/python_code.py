"""Room `runbook`, `quoting`: the places of placeholders in Python code."""

import json
import re
from collections.abc import Collection
from functools import partial
from typing import Any

from runbook_runner.runbook.parts.substitution import PLACEHOLDER
from runbook_runner.runbook.quoting.places import (
    BARE,
    PLAIN,
    LostError,
    Place,
    UnquotableError,
    unquotable,
    unquotable_places,
)

_TOKEN = re.compile(
    rf"(?P<place>{PLACEHOLDER.pattern})|#[^\n]*|(?P<open>(?:(?<!\w)[rbuft]{{1,2}})?(?:'''|\"\"\"|['\"]))|[()\[\]{{}}]",
    re.IGNORECASE,
)
_MOST_NESTED = 20  # f-strings in f-strings
_JSON = re.compile(r"[\[{\"]|(?:true|false|null)\Z")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def python_places(code: str, names: Collection[str]) -> list[Place]:
    """In order. In a block whose quotes do not match only plain values can be written."""
    reader = _Reader(code, names)
    try:
        reader.code_until(None)
    except LostError:
        return list(unquotable_places(code, names, "in Python code whose quotes do not match"))
    return reader.places


class _Reader:
    def __init__(self, code: str, names: Collection[str]):
        self._code = code
        self._names = names
        self._at = 0
        self._nested = 0
        self.places: list[Place] = []

    def code_until(self, end: str | None) -> None:
        """Code up to its end, or that in the braces of an f-string."""
        depth = 0
        while match := _TOKEN.search(self._code, self._at):
            self._at = match.end()
            mark = match[0]
            if match["place"]:
                self._place(
                    match, BARE if end is None else "in the code of an f-string", _bare if end is None else None
                )
            elif mark.startswith("#"):
                self._comment(match)
            elif match["open"]:
                self._string(mark)
            elif mark in "([{":
                depth += 1
            elif depth == 0 and mark == end:
                return
            else:
                depth = max(depth - 1, 0)
        self._at = len(self._code)
        if end:
            raise LostError

    def _comment(self, comment: re.Match[str]) -> None:
        for match in PLACEHOLDER.finditer(self._code, *comment.span()):
            self._place(match, "in a comment", _one_line)

    def _string(self, opening: str) -> None:
        quote, prefix = opening.lstrip("rbuftRBUFT"), opening.lower()
        token = re.compile(rf"(?P<place>{PLACEHOLDER.pattern})|\\(?!\{{\{{).|{quote}|\{{\{{|\{{|\n", re.DOTALL)
        write = partial(_in_string, prefix.rstrip("'\""), quote[0])
        while match := token.search(self._code, self._at):
            is_escaped = match.start() > self._at and self._code[match.start() - 1] == "\\"
            self._at = match.end()
            if match["place"]:
                self._place(match, "in a string", None if is_escaped else write)
            elif match[0] == quote:
                return
            elif match[0] == "\n" and len(quote) == 1:
                break
            elif match[0] == "{" and ("f" in prefix or "t" in prefix):
                self._expression()
        raise LostError

    def _expression(self) -> None:
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise LostError
        self.code_until("}")
        self._nested -= 1

    def _place(self, match: re.Match[str], where: str, write: Any) -> None:
        name = match["name"]
        if name not in self._names:
            return
        if write is None:
            self.places.append(unquotable(match.start(), match.end(), name, where))
        else:
            self.places.append(Place(match.start(), match.end(), name, where, write))


def _bare(value: str) -> str:
    """A JSON value as Python writes it."""
    if _JSON.match(value):
        try:
            return repr(json.loads(value, parse_constant=_refuse))
        except (ValueError, RecursionError):
            raise UnquotableError(BARE) from None
    if PLAIN.fullmatch(value):
        return value
    raise UnquotableError(BARE)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _one_line(value: str) -> str:
    return " ".join(value.splitlines())


def _in_string(prefix: str, quote: str, value: str) -> str:
    if "b" in prefix and not value.isascii():
        raise UnquotableError("in a string of bytes")
    if "r" in prefix:
        if re.search(r"[\\'\"\r\n]", value):
            raise UnquotableError("in a raw string")
    else:
        value = value.translate(_ESCAPES).replace(quote, "\\" + quote)
    return re.sub(r"[{}]", r"\g<0>\g<0>", value) if "f" in prefix or "t" in prefix else value
