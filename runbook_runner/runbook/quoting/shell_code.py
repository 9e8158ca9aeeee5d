"""Room `runbook`, `quoting`: the places of placeholders in shell code: words, quotes, here-documents, expansions.

Code that a command gives to another program (`python3 -c '…'`, `bash <<'EOF'`, `cat > run.py <<'EOF'`) is read as code
of that language. What is not understood is a place in which only a plain value can be written.
"""

import re
import shlex
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from runbook_runner.runbook.parts.substitution import PLACEHOLDER
from runbook_runner.runbook.quoting.languages import is_code_for_another, is_evaluated, language_read, language_taken
from runbook_runner.runbook.quoting.places import BARE, LostError, Place, UnquotableError, unquotable, unquotable_places
from runbook_runner.runbook.quoting.python_code import python_places

_Write = Callable[[str], str]

_TOKEN = re.compile(
    rf"(?P<place>\$?{PLACEHOLDER.pattern})|\\(?!\{{\{{).|\$\(\(|\$[({{'\"]|<<<|<<-?|\(\(|['\"`\n#(){{}}]"
    r"|(?<![^\s;&|(`])(?:case|esac)(?![^\s;&|)`])",
    re.DOTALL,
)
_DELIMITER = re.compile(r"[ \t]*((?:\\.|'[^'\n]*'|\"[^\"\n]*\"|[^\s;&|()<>'\"\\])+)")
_TEXT = {"'": re.compile(r"[^']*"), '"': re.compile(r'[^"\\$`]*')}
"""What is in quotes and means itself."""

_PROGRAM = "in code for another program"
_WORDS = (BARE, "in double quotes", "in single quotes")
_NEAR = 300  # characters of a command that are looked at
_MOST_NESTED = 20


def shell_places(code: str, names: Collection[str], nested: int = 0) -> list[Place]:
    """In order. nested: in how many others the code is. In code whose quotes do not match only plain values can be
    written."""
    reader = _Reader(code, names, nested)
    try:
        reader.commands(None)
    except LostError:
        return list(unquotable_places(code, names, "in shell code whose quotes do not match"))
    return sorted(reader.places)


class _HereDocument(NamedTuple):
    delimiter: str
    is_quoted: bool
    strips_tabs: bool
    language: str | None


class _Reader:
    def __init__(self, code: str, names: Collection[str], nested: int):
        self._code = code
        self._names = names
        self._at = 0
        self._nested = nested
        self._waiting: list[_HereDocument] = []
        """Those whose text begins on the next line."""
        self.places: list[Place] = []

    # --- what has an end of its own; each is called behind its opening ---

    def commands(self, end: str | None) -> None:
        """Up to the `)` of `$(`, or to the end of the code."""
        brackets = cases = 0
        while mark := self._token(BARE, shlex.quote):
            if mark == "\n":
                self._here_documents()
            elif mark == "#":
                self._comment()
            elif mark == "'" or mark in ('"', '$"'):
                self._quoted(mark)
            elif mark in ("<<", "<<-"):
                self._waiting.append(self._here_document(mark))
            elif mark == "((":
                self._arithmetic()
            elif mark in ("case", "esac"):
                cases += 1 if mark == "case" else -1
            elif mark == "(":
                brackets += 1
            elif mark == ")" and brackets:
                brackets -= 1
            elif mark == ")" and end and cases <= 0:
                if self._waiting:
                    break
                return
            elif mark != ")":
                self._expansion(mark)
        if end:
            raise LostError

    def _expansion(self, mark: str) -> None:
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise LostError
        if mark == "$((":
            self._arithmetic()
        elif mark == "$(":
            self.commands(")")
        elif mark == "${":
            self._braces()
        elif mark == "$'":
            self._until("'", "in $'…'")
        elif mark == "`":
            self._until("`", "in back-ticks")
        self._nested -= 1

    def _double_quotes(self, where: str, write: _Write | None) -> None:
        while mark := self._token(where, write):
            if mark in ('"', '$"'):
                return
            if mark != "$'":
                self._expansion(mark)
        raise LostError

    def here_text(self) -> None:
        """The text of a here-document that is expanded."""
        while mark := self._token("in a here-document", _in_here_document):
            if mark != "$'":
                self._expansion(mark)

    def _braces(self) -> None:
        while mark := self._token("in ${…}", None):
            if mark == "}":
                return
            if mark in ('"', '$"'):
                self._double_quotes("in ${…}", None)
            elif mark != "'":
                self._expansion(mark)
        raise LostError

    def _arithmetic(self) -> None:
        brackets = 2
        while mark := self._token("in arithmetic", None):
            brackets += {"(": 1, "((": 2, ")": -1}.get(mark, 0)
            if brackets == 0:
                return
            if mark in ('"', '$"'):
                self._double_quotes("in arithmetic", None)
            else:
                self._expansion(mark)
        raise LostError

    def _until(self, end: str, where: str) -> None:
        while mark := self._token(where, None):
            if mark[-1] == end and mark[0] != "\\":
                return
        raise LostError

    def _comment(self) -> None:
        if self._at > 1 and self._code[self._at - 2] not in " \t\n;&|()":
            return
        end = self._code.find("\n", self._at)
        end = len(self._code) if end < 0 else end
        for match in PLACEHOLDER.finditer(self._code, self._at, end):
            self._place(match, "in a comment", lambda value: value.replace("\n", " "))
        self._at = end

    def _quoted(self, opening: str) -> None:
        """Quotes of a command: text, or code for the program that the command runs."""
        quote, text = opening[-1], _TEXT[opening[-1]].match(self._code, self._at)
        assert text, "it may be empty"
        before = self._command_before(self._at - len(opening))
        takes = language_taken(before)
        if takes is None and is_code_for_another(before, self._rest_of_line(text.end() + 1)):
            takes = ""
        is_whole = self._code[text.end() : text.end() + 1] == quote
        if quote == '"' and (takes is None or not is_whole):
            where, write = ("in double quotes", _in_double_quotes) if takes is None else (_PROGRAM, None)
            return self._double_quotes(where, write)
        if not is_whole:
            raise LostError
        if takes is None:
            for match in PLACEHOLDER.finditer(self._code, *text.span()):
                self._place(match, "in single quotes", _in_single_quotes)
        else:
            self._other(takes, *text.span(), _in_single_quotes if quote == "'" else _in_double_quotes)
        self._at = text.end() + 1
        return None

    def _command_before(self, end: int) -> str:
        return re.split(r"(?<!\\)\n|[;|&(]", self._code[max(end - _NEAR, 0) : end])[-1]

    def _rest_of_line(self, start: int) -> str:
        return self._code[start : start + _NEAR].partition("\n")[0]

    # --- here-documents ---

    def _here_document(self, operator: str) -> _HereDocument:
        match = _DELIMITER.match(self._code, self._at)
        if match is None or "{{" in match[1]:
            raise LostError
        command = self._command_before(self._at - len(operator)) + self._rest_of_line(match.end())
        self._at = match.end()
        word = re.sub(r"\\(.)|['\"]", r"\1", match[1])
        return _HereDocument(word, word != match[1], operator == "<<-", language_read(command))

    def _here_documents(self) -> None:
        waiting, self._waiting = self._waiting, []
        for document in waiting:
            tabs = r"\t*" if document.strips_tabs else ""
            end = re.compile(rf"^{tabs}{re.escape(document.delimiter)}$", re.MULTILINE).search(self._code, self._at)
            if end is None:
                raise LostError
            first = len(self.places)
            self._text_of(document, self._at, end.start())
            for index in range(first, len(self.places)):
                place = self.places[index]
                self.places[index] = place._replace(write=partial(self._within, document, place))
            self._at = end.end()

    def _text_of(self, document: _HereDocument, start: int, end: int) -> None:
        text = self._code[start:end]
        if document.language is not None and document.is_quoted:
            self._other(document.language, start, end, str)
        elif document.language is not None and not re.search(r"[\\$`]", text):
            self._other(document.language, start, end, _in_here_document)
        elif document.language is not None:
            self._other("", start, end, str)
        elif document.is_quoted:
            for match in PLACEHOLDER.finditer(self._code, start, end):
                self._place(match, "in a here-document", str)
        else:
            inner = _Reader(text, self._names, self._nested + 1)
            inner.here_text()
            self._take(inner.places, start, str)

    def _within(self, document: _HereDocument, place: Place, value: str) -> str:
        """The value in a here-document, unless that would end there or lose something of it."""
        written = place.write(value)
        start, end = self._code.rfind("\n", 0, place.start) + 1, self._code.find("\n", place.end)
        lines = (self._code[start : place.start] + written + self._code[place.end : end]).split("\n")
        if any(line.lstrip("\t") == document.delimiter for line in lines):
            raise UnquotableError("in a here-document that the value would end")
        if document.strips_tabs and re.search(r"^\t", value, re.MULTILINE):
            raise UnquotableError("in a here-document that loses its tabs (`<<-`)")
        return written

    # --- code in code ---

    def _other(self, language: str, start: int, end: int, write: _Write) -> None:
        """Code of a language; write: how its text is written in this code."""
        code = self._code[start:end]
        if language == "python":
            inner = python_places(code, self._names)
        elif language == "bash" and self._nested < _MOST_NESTED:
            inner = shell_places(code, self._names, self._nested + 1)
        else:
            inner = list(unquotable_places(code, self._names, _PROGRAM))
        self._take(inner, start, write)

    def _take(self, inner: list[Place], start: int, write: _Write) -> None:
        for place in inner:
            whole = partial(_both, place.write, write)
            self.places.append(Place(start + place.start, start + place.end, place.name, place.where, whole))

    # --- tokens ---

    def _token(self, where: str, write: _Write | None) -> str | None:
        """The next one that may open or close something; `None` at the end. Placeholders on the way are places."""
        while match := _TOKEN.search(self._code, self._at):
            if not match["place"]:
                self._at = match.end()
                return match[0]
            mark = "$" if match[0][0] == "$" else self._code[self._at : match.start()][-1:]
            self._place(
                match, f"behind {mark}" if mark in ("$", "\\") else where, None if mark in ("$", "\\") else write
            )
            self._at = match.end()
        self._at = len(self._code)
        return None

    def _place(self, match: re.Match[str], where: str, write: _Write | None) -> None:
        name, start = match["name"], match.end() - len(match[0].lstrip("$"))
        if name not in self._names:
            return
        if where in _WORDS and is_evaluated(self._code[max(start - _NEAR, 0) : start], self._rest_of_line(match.end())):
            where, write = "in arithmetic", None
        if write is None:
            self.places.append(unquotable(start, match.end(), name, where))
        else:
            self.places.append(Place(start, match.end(), name, where, write))


def _both(first: _Write, then: _Write, value: str) -> str:
    return then(first(value))


def _in_double_quotes(value: str) -> str:
    return re.sub(r'[\\"$`]', r"\\\g<0>", value)


def _in_single_quotes(value: str) -> str:
    return value.replace("'", "'\\''")


def _in_here_document(value: str) -> str:
    return re.sub(r"[\\$`]", r"\\\g<0>", value)
