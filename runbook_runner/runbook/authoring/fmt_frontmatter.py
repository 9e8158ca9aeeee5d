"""Room `runbook`: the keys of a frontmatter in the contract's order (§3.2), each with its comments and its text."""

import re

import yaml

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.yaml_text import YamlText
from runbook_runner.runbook.parts.frontmatter import KNOWN_KEYS, Frontmatter, Parts, cut, read

ORDER = tuple(name for name in Frontmatter._fields if name in KNOWN_KEYS)
"""Other keys come after these, in the author's order."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MODELINE = "yaml-language-server:"
_OTHER_LINE_ENDS = "\x85\u2028\u2029"  # YAML counts them as line ends, we don't


def ordered(parts: Parts) -> str:
    """The head with its keys in order; as it was when its lines can't be moved without changing a value."""
    if parts.yaml is None or any(end in parts.yaml for end in _OTHER_LINE_ENDS):
        return parts.head
    starts = key_lines(parts.yaml)
    names = [name for name, _ in starts]
    wanted = sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    if wanted == names or len(set(names)) < len(names):
        return parts.head
    opening, *lines = _LINE.findall(parts.head)
    head = opening + _moved(lines, starts, wanted)
    return head if _is_same(parts, head) else parts.head


def key_lines(text: str) -> list[tuple[str, int]]:
    """Top-level keys with their 0-based lines; nothing when the block is not a plain one."""
    root = YamlText(text, "", first_line=2).root()
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        return []
    marks = [(key.value, key.start_mark) for key, _ in root.value if isinstance(key, yaml.ScalarNode)]
    is_plain = len(marks) == len(root.value) and all(mark.column == 0 for _, mark in marks)
    return [(name, mark.line) for name, mark in marks] if is_plain else []


def _moved(lines: list[str], starts: list[tuple[str, int]], wanted: list[str]) -> str:
    """lines: those below the first `---`, the closing one included."""
    begins = [with_comments(lines, line) for _, line in starts]
    ends = [*begins[1:], len(lines) - 1]
    blocks = {name: lines[a:b] for (name, _), a, b in zip(starts, begins, ends, strict=True)}
    texts = [*lines[: begins[0]], *(line for name in wanted for line in blocks[name]), lines[-1]]
    return "".join(texts)


def with_comments(lines: list[str], line: int) -> int:
    """Comments right above a key are the key's, but not a line for the editor, which must stay on top."""
    while line > 0 and lines[line - 1].startswith("#") and _MODELINE not in lines[line - 1]:
        line -= 1
    return line


def _is_same(before: Parts, head: str) -> bool:
    after = cut(head + before.body)
    try:
        old, new = read(before, ""), read(after, "")
    except InputError:
        return False
    return after.body == before.body and new._replace(lines={}) == old._replace(lines={})
