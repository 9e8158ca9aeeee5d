"""Room `runbook`: what changes between two texts of one file, as a unified diff that `patch` takes."""

import re

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def unified(before: str, after: str, name: str) -> str:
    """Empty when nothing changes. Lines end at line feeds only, so Windows line ends stay part of their lines."""
    from difflib import unified_diff  # slow to import; `runbook check` without --diff does not need it

    lines = unified_diff(_LINE.findall(before), _LINE.findall(after), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
