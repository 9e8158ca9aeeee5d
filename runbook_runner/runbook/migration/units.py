"""Room `runbook`: a shell script cut into its top-level commands, without running or really parsing it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_OPENS = frozenset({"if", "for", "while", "until", "case", "select", "{"})
_CLOSES = frozenset({"fi", "done", "esac", "}"})
_GOES_ON = ("\\", "&&", "||", "|")
_WORD = re.compile(r"[A-Za-z]+|[{}]")
_HEREDOC = re.compile(r"<<(-?)\s*(['\"\\]?)([A-Za-z_][A-Za-z0-9_]*)")
_BEFORE_COMMAND = frozenset({"then", "do", "else", "elif", "!", "time"})


@dataclass(frozen=True)
class Unit:
    """One command, be it a line or a loop of twenty, with the comment lines right above it."""

    comment: str
    """Without its `#`; empty when there is none."""
    code: str
    """Ends with a line end."""
    line: int
    """Of its first line of code, counted from 0 in the script."""


def split(script: str) -> tuple[Unit, ...]:
    """In order. A script that never closes what it opens ends in one long unit."""
    return tuple(_units(script.splitlines()))


def _units(lines: list[str]) -> Iterator[Unit]:
    comments: list[str] = []
    code: list[str] = []
    state, first = _State(), 0
    for number, line in enumerate(lines):
        if not code and not line.strip():
            comments = []
        elif not code and line.lstrip().startswith("#"):
            comments.append(line.strip().lstrip("#! ").strip("-= "))
        else:
            first = first if code else number
            code.append(line)
            state.feed(line)
            if state.is_closed:
                yield Unit(" ".join(filter(None, comments)), "\n".join(code) + "\n", first)
                comments, code, state = [], [], _State()
    if code:
        yield Unit(" ".join(filter(None, comments)), "\n".join(code) + "\n", first)


@dataclass
class _State:
    """What is open at the end of a line: blocks, brackets, a quote, here-documents."""

    blocks: int = 0
    cases: int = 0
    brackets: int = 0
    quote: str = ""
    heredocs: list[tuple[bool, str]] = field(default_factory=list)
    goes_on: bool = False

    @property
    def is_closed(self) -> bool:
        return not (self.blocks > 0 or self.brackets > 0 or self.quote or self.heredocs or self.goes_on)

    def feed(self, line: str) -> None:
        if self.heredocs:
            tabs, end = self.heredocs[0]
            if (line.lstrip("\t") if tabs else line) == end:
                self.heredocs.pop(0)
            return
        code = self._code(line)
        self.heredocs += [(bool(m[1]), m[3]) for m in _HEREDOC.finditer(line) if "<<<" not in line]
        self._count(code)
        self.goes_on = not self.quote and code.rstrip().endswith(_GOES_ON)

    def _code(self, line: str) -> str:
        """The line with what is quoted or commented out replaced by blanks."""
        kept, index = [], 0
        while index < len(line):
            letter = line[index]
            if letter == "\\" and self.quote != "'" and index + 1 < len(line):
                index += 1
                kept.append("_")
            elif self.quote:
                self.quote = "" if letter == self.quote else self.quote
                kept.append(" " if self.quote else "_")
            elif letter in "'\"":
                self.quote = letter
                kept.append("_")
            elif letter == "#" and (not kept or kept[-1].isspace()):
                break
            else:
                kept.append(letter)
            index += 1
        return "".join(kept)

    def _count(self, code: str) -> None:
        for part in re.split(r"[;&|()]|\$\(", code):
            words = part.split()
            while words and words[0] in _BEFORE_COMMAND:
                words.pop(0)
            if words and (match := _WORD.fullmatch(words[0])):
                self._word(match[0])
        if not self.cases:  # the patterns of a case close brackets that nobody opened
            self.brackets += code.count("(") - code.count(")")

    def _word(self, word: str) -> None:
        if word in _OPENS:
            self.blocks += 1
            self.cases += word == "case"
        elif word in _CLOSES:
            self.blocks -= 1
            self.cases -= word == "esac"
