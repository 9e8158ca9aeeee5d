"""Room `runbook`: the frontmatter keys a v2 file has and a v1 file lacks (contract §3.2, §3.11)."""

import re
from collections.abc import Sequence

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.checks_config import DEFAULT_TIMEOUT_S
from runbook_runner.runbook.fmt_frontmatter import ORDER, key_lines, with_comments
from runbook_runner.runbook.frontmatter import Frontmatter, Parts, cut, read
from runbook_runner.runbook.yaml_nodes import YamlText

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_NEW = {
    "strict_evaluation": ("strict_evaluation: false",),
    "code_checks": ("code_checks:", f"  timeout_sec: {DEFAULT_TIMEOUT_S}"),
}


def with_v2_keys(parts: Parts, front: Frontmatter, eol: str) -> tuple[str, tuple[str, ...]]:
    """The head with the missing keys in their place, and their names. A block that is no list of
    keys, line by line, gets none."""
    missing = [key for key in _NEW if key not in front.lines]
    starts = key_lines(parts.yaml or "")
    if not missing or len(starts) != len(front.raw) or (not starts and YamlText(parts.yaml or "", "", 2).root()):
        return parts.head, ()
    lines = _LINE.findall(parts.head)
    place = _place(lines, starts)
    new = [line + eol for key in missing for line in _NEW[key]]
    head = "".join([*lines[:place], *new, *lines[place:]])
    return (head, tuple(missing)) if _is_read(head + parts.body) else (parts.head, ())


def _is_read(text: str) -> bool:
    """Below YAML's own end mark (`...`) nothing may be added."""
    try:
        return "code_checks" in read(cut(text), "").lines
    except InputError:
        return False


def _place(lines: Sequence[str], starts: Sequence[tuple[str, int]]) -> int:
    """Before the first key that comes later in the contract's order, as far as the author kept to it."""
    later = ORDER[ORDER.index("code_checks") + 1 :]
    after = [line for name, line in starts if name in later or name not in ORDER]
    known = [line for name, line in starts if name in ORDER and name not in later]
    first = next((line for line in after if all(line > other for other in known)), None)
    return len(lines) - 1 if first is None else with_comments(list(lines[1:]), first) + 1
