"""Core: text from outside, made safe to print and to store; its width on a terminal; the nearest known word."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

_NO_WIDTH = ("Mn", "Me", "Cf")  # marks that go onto the letter before them, joiners, directions
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"  # moves the cursor, ends a line
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # turns the direction of what follows
)
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48 §5.4: colours, cursor movements
_LINE_ENDS = re.compile(r"\r\n?")
_LONGEST_LINE = 1 << 16
_PIECE = re.compile(rf"[\r\n]+|[^\r\n]{{1,{_LONGEST_LINE}}}")
_ENDLESS_WORD = re.compile(r"(\S{100})\S{300,}(\S{50})")
_LONGEST_WORD, _MOST_WORDS = 80, 1000  # compared with each other; difflib takes quadratic time
MOST_COMPARED = 4_000_000  # letters with letters; 0.1 µs each


def short(text: str) -> str:
    """The text with an ellipsis in each word that is longer than any that a person reads, such as a name of thousands
    of letters."""
    return _ENDLESS_WORD.sub(r"\1…\2", text)


def printable(text: str) -> str:
    """The text with U+FFFD for every character that moves the cursor, colours or turns what follows. Tabs and line
    feeds stay, and so does the number of characters."""
    return _CONTROL.sub("�", text)


def printable_output(text: str) -> str:
    """`printable` for what a program printed: escape sequences are dropped, every line end is a line feed."""
    return printable(_LINE_ENDS.sub("\n", _ESCAPE_SEQUENCE.sub("", text)))


def last_line(output: str, most: int = 200) -> str:
    """The last line of a program's output that is not blank; empty when there is none. most: its characters; the rest
    of it is left out."""
    line = next((line.strip() for line in reversed(printable_output(output).splitlines()) if line.strip()), "")
    return line if len(line) <= most else f"{line[:most]}…"


def printable_name(name: str) -> str:
    """The name on one line, with escapes like `\\n` for characters that can't be printed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name)


def decoded_name(name: str) -> str:
    """A file's name with escapes like `\\xff` for its bytes that are not UTF-8, so that it can be stored in JSON."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates, which JSON allows and UTF-8 does not."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Lines:
    """Splits text that comes in pieces into its lines, without their ends and without empty ones. A line of more than
    64k characters comes in parts: some programs never end theirs."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0

    def feed(self, text: str) -> Iterator[str]:
        for piece in _PIECE.findall(text):
            ended = piece[0] in "\r\n"
            if not ended:
                self._parts.append(piece)
                self._length += len(piece)
            if ended or self._length >= _LONGEST_LINE:
                yield from self.end()

    def end(self) -> Iterator[str]:
        if self._parts:
            yield "".join(self._parts)
        self._parts, self._length = [], 0


def whole_lines(text: str, most: int) -> str:
    """The first lines of a text, of at most so many characters, and how many more there are. Markdown that is cut
    within a line may mean something else: what a code span has kept apart is a part of it."""
    if len(text) <= most:
        return text
    kept = text[: text.rfind("\n", 0, most) + 1]
    return f"{kept}\n{counted(text.count(chr(10), len(kept)) or 1, 'more line')}.\n"


def counted(number: float, what: str) -> str:
    """`1 call`, `2,000 calls`, `0.5 cores`, `2 processes`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what}" + ("" if number == 1 else "es" if what.endswith("s") else "s")


def dollars(amount: float) -> str:
    """`$0.50`, `$1,000.00`, `$0.004`."""
    cents = f"{amount:,.2f}"
    return f"${cents if float(cents.replace(',', '')) == amount else f'{amount:g}'}"


def size_shown(size: int) -> str:
    """`812 bytes`, `12.3 kB`, `4.0 MB`, each unit a thousand of the one before, as `rich` has them."""
    if size < 1000:
        return counted(size, "byte")
    shown, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if shown < 1000:
            break
        shown, unit = shown / 1000, larger
    return f"{shown:,.1f} {unit}"


def width(text: str) -> int:
    """In terminal cells: Chinese, Japanese and Korean letters and most emoji take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_letter_width, text))


def _letter_width(letter: str) -> int:
    if unicodedata.category(letter) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like `word`; `None` when none is similar. cutoff: from 0 (any) to 1 (equal)."""
    from difflib import get_close_matches  # slow to import; `runbook check` of a good file does without

    words = [name for name in known if len(name) <= _LONGEST_WORD][:_MOST_WORDS]
    return next(iter(get_close_matches(word[:_LONGEST_WORD], words, n=1, cutoff=cutoff)), None)


class Nearest:
    """`nearest` for many words; it finds nothing once MOST_COMPARED pairs of letters have been compared."""

    def __init__(self) -> None:
        self._left = MOST_COMPARED

    def __call__(self, word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
        words = list(islice(known, _MOST_WORDS))
        self._left -= min(len(word), _LONGEST_WORD) * sum(min(len(name), _LONGEST_WORD) for name in words)
        return nearest(word, words, cutoff) if self._left >= 0 else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`Did you mean 'x'?` with the nearest known word; `None` when none is similar. Of `claude-code` the first part may
    be meant alone."""
    names = list(known)
    meant = {name.partition("-")[0]: name for name in reversed(names)} | {name: name for name in names}
    near = meant.get(nearest(word, meant) or "")
    return f"Did you mean {near!r}?" if near else None
