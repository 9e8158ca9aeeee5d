"""Room `runbook`, `quoting`: which commands of a shell are given code, and of which language."""

import re
from typing import Final

_PROGRAM: Final = r"(?<![\w.-])(?:(?P<python>python3?(?:\.\d+)?)|(?P<sh>(?:ba|da|z)?sh)|node|perl|ruby|php)"
_OPTIONS: Final = r"(?: -(?:\w*[oOWX]|-rcfile|-init-file) [^\s-]\S*| -\S*)*"
"""Those of the shells and of Python, with a value of its own where they take one."""
_REMOTE: Final = r"(?<![\w.-])(?P<remote>ssh) "

_AWK: Final = r"(?<![\w.-])[gmn]?awk(?: -[Fv] [^\s-]\S*| -\S*)* \Z"

_RUNS_STDIN = re.compile(rf"{_PROGRAM}{_OPTIONS}(?: -s [^|;&>]*)? ?(?:\Z|[|;&>])|{_REMOTE}")
_PRINTS = re.compile(r"(?<![\w.-])(?:echo|printf)(?: -\w+)* \Z")
_RUNS_PRINTED = re.compile(
    rf" ?(?:\| ?{_PROGRAM}{_OPTIONS}(?: -s [^|;&>]*)? ?(?:\Z|[|;&>)])|>>? ?[^ |;&<>]*\.(?:py|sh)\b)"
)
_WRITES_CODE = re.compile(r"(?:>|\btee(?: -\w+)*) ?[^ |;&<>]*\.(?:(?P<python>py)|(?P<sh>sh))\b")
_TAKES = rf"{_PROGRAM}{_OPTIONS} (?:-\w*[cer]|--eval)(?: --)? \Z|(?<![\w.-])(?:eval|trap) "
# By how the command ends. Each is found at its first word, so that a long command is not looked through from every one.
_TAKES_CODE = (
    (re.compile(r" -c \Z"), re.compile(rf"{_TAKES}|(?<![\w.-])su ")),
    (re.compile(r" -\w \Z"), re.compile(_TAKES)),
    (re.compile(r" \Z"), re.compile(rf"{_TAKES}|{_REMOTE}|{_AWK}")),
)


_EVALUATES = re.compile(
    r"(?:\A|[\n;|&(])[ \t]*(?:(?:then|do|else)[ \t]+)?"
    r"(?:(?:let|(?:declare|local|typeset|export|readonly)\s+-\w*i\w*)\s[^\n;|&(]*|\w+\[['\"]?)\Z"
)
_COMPARES = re.compile(r"\s-(?:eq|ne|lt|le|gt|ge)\s+['\"]?\Z")
_COMPARED = re.compile(r"['\"]?\s+-(?:eq|ne|lt|le|gt|ge)\s")


def is_evaluated(before: str, after: str) -> bool:
    """Whether Bash evaluates the word between these parts of the code as arithmetic, quotes or not: it runs what is in
    `a[$(…)]`."""
    line = before.rpartition("\n")[2]
    in_test = line.rfind("[[") > line.rfind("]]")
    return bool(_EVALUATES.search(before) or (in_test and (_COMPARES.search(line) or _COMPARED.match(after))))


def language_read(line: str) -> str | None:
    """The language of the here-document of this command, which is given without its `<<WORD`: `python`, `bash`, or
    empty for another one; `None`: it is text."""
    line = _spaced(line)
    return _language(_RUNS_STDIN.search(line) or _WRITES_CODE.search(line))


def language_taken(before: str) -> str | None:
    """The same for what is in quotes behind this part of a command."""
    command = _spaced(before)
    if command.endswith("<<< "):
        return language_read(command[:-4])
    takes = next((takes for end, takes in _TAKES_CODE if end.search(command)), None)
    return _language(takes and takes.search(command))


def is_code_for_another(before: str, after: str) -> bool:
    """Whether what is in quotes between these parts of a line is printed for a program that runs it. What the printing
    command makes of a backslash is not known, so nothing can be quoted there."""
    return bool(_PRINTS.search(_spaced(before)) and _RUNS_PRINTED.match(_spaced(after)))


def _spaced(command: str) -> str:
    return re.sub(r"(?:\s|\\\n)+", " ", command)


def _language(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    found = {name for name, text in match.groupdict().items() if text}
    if "python" in found:
        return "python"
    is_shell = "sh" in found or "remote" in found or re.match(r"eval|trap|su\b", match[0])
    return "bash" if is_shell else ""
