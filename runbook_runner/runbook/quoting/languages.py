"""Room `runbook`, `quoting`: which commands of a shell are given code, and of which language."""

import re
from typing import Final

_PROGRAM: Final = r"(?<![\w.-])(?:(?P<python>python3?(?:\.\d+)?)|(?P<sh>(?:ba|da|z)?sh)|node|perl|ruby|php)"
_OPTIONS: Final = r"(?: -\S*)*"
_REMOTE: Final = r"(?<![\w.-])(?P<remote>ssh) "

_RUNS_STDIN = re.compile(rf"{_PROGRAM}{_OPTIONS}(?: -s [^|;&>]*)? ?(?:\Z|[|;&>])|{_REMOTE}")
_WRITES_CODE = re.compile(r"(?:>|\btee(?: -\w+)*) ?[^ |;&<>]*\.(?:(?P<python>py)|(?P<sh>sh))\b")
_TAKES = rf"{_PROGRAM}{_OPTIONS} (?:-\w*[cer]|--eval) \Z|(?<![\w.-])eval "
# By how the command ends. Each is found at its first word, so that a long command is not looked through from every one.
_TAKES_CODE = (
    (re.compile(r" -c \Z"), re.compile(rf"{_TAKES}|(?<![\w.-])su ")),
    (re.compile(r" -\w \Z"), re.compile(_TAKES)),
    (re.compile(r" \Z"), re.compile(rf"{_TAKES}|{_REMOTE}")),
)


def language_read(line: str) -> str | None:
    """The language of the here-document of this command, which is given without its `<<WORD`: `python`, `bash`, or
    empty for another one; `None`: it is text."""
    line = _spaced(line)
    return _language(_RUNS_STDIN.search(line) or _WRITES_CODE.search(line))


def language_taken(before: str) -> str | None:
    """The same for what is in quotes behind this part of a command."""
    command = _spaced(before)
    takes = next((takes for end, takes in _TAKES_CODE if end.search(command)), None)
    return _language(takes and takes.search(command))


def _spaced(command: str) -> str:
    return re.sub(r"\s+", " ", command)


def _language(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    found = {name for name, text in match.groupdict().items() if text}
    if "python" in found:
        return "python"
    is_shell = "sh" in found or "remote" in found or re.match(r"eval|su\b", match[0])
    return "bash" if is_shell else ""
