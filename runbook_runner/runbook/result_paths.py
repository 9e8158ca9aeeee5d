"""Room `runbook`: how authors spell a file in the results directory (contract §3.5)."""

import re
from posixpath import normpath

_PREFIX = re.compile(r"(?:\{\{\s*results_dir\s*\}\}|/app/results|(?:\./)?results)(?:/|\Z)")


def in_results(spelled: str) -> str | None:
    """`{{results_dir}}/a/b`, `/app/results/a/b`, `./results/a/b`, `results/a/b` and `a/b` → `a/b`.

    `<…>` and `*` stay: they are patterns. `None` for what is not below the results directory: the directory itself,
    other absolute paths, `..`. A trailing slash (a folder) is dropped.
    """
    path = _PREFIX.sub("", spelled.strip(), count=1) if _PREFIX.match(spelled.strip()) else spelled.strip()
    if not path or path.startswith(("/", "~")) or "\0" in path:
        return None
    path = normpath(path)
    return None if path in (".", "..") or path.startswith("../") else path


def looks_like_path(text: str) -> bool:
    """One word with a folder, an extension or a pattern in it: `a.md`, `out/`, `<slug>`, `*`. Not `audit`."""
    return (
        bool(text)
        and not re.search(r"\s", re.sub(r"<[^<>]*>|\{\{[^{}]*\}\}", "", text))
        and bool(re.search(r"[./*<]|\{\{", text))
    )
