"""Room `runbook`, `check`: JSON examples that do not parse, of those that are meant as JSON.

Authors write shapes as often as examples: `…` for what follows, `<name>`, `a | b`, `a/b` or `1-5` for a value,
comments. Such a block is not a mistake, so it is not reported; neither are a fragment of an
object and one value per line.
"""

import json
import re

_MAX_CHARACTERS = 1_000_000
# Text, compiled when an example does not parse. Single quotes count, too: Python's spelling is a mistake, not a shape.
_STRING = r"""\"(?:[^"\\\n]|\\.)*+(\"?)|'[^'\n]*+('?)"""
_WORD = r"\b(?!(?:true|false|null|True|False|None|undefined|NaN|Infinity|e|E)\b)[A-Za-z_]\w*"
_RANGE = r"(?<![\d-])\d+\s*-\s*\d+(?![\d-])"  # not a date
_SHAPE = rf"…|\.\.\.|<|\||/|(?m:^[ \t]*+#)|\$|{_RANGE}|{_WORD}"
"""Outside strings it means a shape: dots, angle brackets, bars, comments, bare words."""


def json_problem(code: str) -> tuple[int, str] | None:
    """Offset and message of the first error; `None`: it parses, or is not meant to."""
    if len(code) > _MAX_CHARACTERS:
        return None
    filled = re.sub(r"\{\{[^{}\n]*\}\}", lambda match: "1" * len(match[0]), code) if "{{" in code else code
    error = _error(filled)
    if error is None or not filled.strip():
        return None
    if re.search(_SHAPE, re.sub(_STRING, _without_content, filled)) or _is_fragment(filled) or _is_lines(filled):
        return None
    return error.pos, error.msg


def _without_content(string: "re.Match[str]") -> str:
    return '""' if string[1] or string[2] else string[0]


def _error(text: str) -> json.JSONDecodeError | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error
    except (RecursionError, ValueError):  # nested deeper, or a longer number, than any example
        return None
    return None


def _is_fragment(text: str) -> bool:
    """Members without the braces around them, as in `"key": 1,`."""
    members = text.strip().rstrip(",")
    return members.startswith('"') and _error("{" + members + "}") is None


def _is_lines(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) > 1 and all(line.lstrip()[:1] in "{[" and _error(line) is None for line in lines)
