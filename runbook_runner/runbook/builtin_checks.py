"""Room `runbook`: what the YAML block of a built-in code check says (contract §3.11)."""

from dataclasses import dataclass
from typing import Any

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.code_checks import CodeCheck
from runbook_runner.runbook.yaml_nodes import YamlText

USES = (
    "file_exists",
    "min_size",
    "json_valid",
    "regex_present",
    "regex_absent",
    "markdown_relative_links_resolve",
)
_SIZE_KEYS = ("bytes", "min_bytes", "size")
_PATTERN_KEYS = ("pattern", "regex")


@dataclass(frozen=True)
class BuiltIn:
    use: str
    """One of `USES`."""
    files: str
    """Path or glob, relative to the results directory."""
    is_glob: bool
    bytes: int | None = None
    """For `min_size`."""
    pattern: str | None = None
    """For the regex pair; Python's syntax."""


def read_builtin(check: CodeCheck, source: str) -> BuiltIn:
    """The check's block. Raises InputError with `source:line` when it is malformed: the check is an `error` then."""
    assert check.code_line is not None, "a built-in has a fence"
    where = f"{source}:{check.code_line}"
    text = YamlText(check.code, source, first_line=check.code_line + 1)
    root = text.root()
    body = text.value(root) if root is not None else None
    if not isinstance(body, dict):
        raise InputError("A built-in check holds `use:` and what it looks at.", where=where)
    use = body.get("use")
    if use not in USES:
        raise InputError(f"`use: {use}` is no built-in check.", where=where, hint=f"There are {', '.join(USES)}.")
    files, is_glob = _files(body, where)
    return BuiltIn(use, files, is_glob, _size(body, use, where), _pattern(body, use, where))


def _files(body: dict[str, Any], where: str) -> tuple[str, bool]:
    for key in ("path", "glob"):
        if isinstance(body.get(key), str) and body[key].strip():
            return body[key].strip(), key == "glob"
    raise InputError("A built-in check needs a `path:` or a `glob:`.", where=where)


def _size(body: dict[str, Any], use: str, where: str) -> int | None:
    if use != "min_size":
        return None
    size = next((body[key] for key in _SIZE_KEYS if key in body), None)
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise InputError("`min_size` needs `bytes:`, a whole number.", where=where)


def _pattern(body: dict[str, Any], use: str, where: str) -> str | None:
    if not use.startswith("regex_"):
        return None
    pattern = next((body[key] for key in _PATTERN_KEYS if key in body), None)
    if isinstance(pattern, str) and pattern:
        return pattern
    raise InputError(f"`{use}` needs a `pattern:` in quotes.", where=where)
