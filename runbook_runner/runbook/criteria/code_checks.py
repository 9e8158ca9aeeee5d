"""Room `runbook`: the checks under `## Code Checks` (contract §3.11): id, name, what runs them, and what a
built-in one tests."""

import re
from dataclasses import replace
from typing import Any, Final, get_args

from runbook_runner.core.criteria import MAX_CHECK_ID, MAX_MIN_SIZE, BuiltIn, CodeCheck, Executor, Kind, Use
from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.yaml_text import YamlText
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.markdown.blocks import Fence, Outline, Section
from runbook_runner.runbook.parts.sections import find_exact, subsections
from runbook_runner.runbook.parts.steps import language_of
from runbook_runner.runbook.parts.substitution import PLACEHOLDER

_HEADING = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9._-]*)\s+[—–-]\s+(?P<name>\S.*)")
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("", "bash", "sh", "shell"), "command"),
    **dict.fromkeys(("yaml", "check"), "builtin"),
    "agent": "agent",
}
USES: Final[tuple[Use, ...]] = get_args(Use)
_NO_GLOB: Final = re.compile(r"\[|\{[^{}]*,[^{}]*\}")
"""Means something in other globs: the pattern would fit other files than its author thinks, or none."""
_SIZE_KEYS = ("bytes", "min_bytes", "size")
_PATTERN_KEYS = ("pattern", "regex")


def read_code_checks(outline: Outline, default_executor: Executor = "jetty") -> tuple[CodeCheck, ...]:
    """One per `###` heading of the section, in order, those that don't count included.

    default_executor: for command checks that name none (the old file-wide `code_checks.executor`).
    """
    section = find_exact(outline.sections, "code checks")
    found: list[CodeCheck] = []
    seen: set[str] = set()
    for heading in subsections(outline.sections, section, 3) if section else ():
        match = _HEADING.fullmatch(heading.title)
        check_id = match["id"][:MAX_CHECK_ID] if match else ""
        fence = next(iter(outline.fences_in(heading)), None)
        name = match["name"] if match else heading.title
        check = _check(heading, fence, check_id, name, check_id in seen, default_executor)
        if match and len(match["id"]) > MAX_CHECK_ID:
            check = replace(check, executor=None, problem=f"Its id is longer than {MAX_CHECK_ID} characters.")
        found.append(check)
        seen.update(filter(None, (check_id,)))
    return tuple(found)


def _check(
    heading: Section, fence: Fence | None, check_id: str, name: str, is_repeat: bool, default: Executor
) -> CodeCheck:
    kind, executor, problem = _meaning(fence, default)
    return CodeCheck(
        id=check_id,
        name=name,
        line=heading.line,
        kind=kind,
        executor=executor,
        info=fence.info if fence else "",
        code=fence.code if fence else "",
        code_line=fence.line if fence else None,
        problem=problem,
        is_repeat=is_repeat and bool(check_id),
    )


def _meaning(fence: Fence | None, default: Executor) -> tuple[Kind | None, Executor | None, str]:
    """What the opening line of the fence says: kind, executor, and what is wrong with it."""
    if fence is None:
        return None, None, "There is no code block below the heading."
    language = language_of(fence.info)
    kind = _KINDS.get(language)
    if kind is None:
        return None, None, f"A block in {language!r} is not a check: use bash, yaml or agent."
    word = next((word for word in fence.info.split()[1:] if word.startswith("executor")), None)
    if word not in (None, "executor=jetty", "executor=agent"):
        return kind, None, f"{word!r} must be executor=jetty or executor=agent."
    if kind == "agent":
        wrong = word == "executor=jetty"
        return kind, None if wrong else "agent", "An agent check can't have executor=jetty." if wrong else ""
    if word is None:
        return kind, default if kind == "command" else "jetty", ""
    return kind, "agent" if word == "executor=agent" else "jetty", ""


def with_builtin(check: CodeCheck, source: str) -> CodeCheck:
    """The check with what its block says, or with the problem of a malformed block."""
    if check.kind != "builtin" or check.problem:
        return check
    try:
        return replace(check, builtin=read_builtin(check, source))
    except InputError as error:
        return replace(check, problem=error.message)


def read_builtin(check: CodeCheck, source: str) -> BuiltIn:
    """The check's block; a `{{name}}` in it is part of a text, as YAML it would be two mappings. Raises InputError with
    `source:line` when it is malformed: the check is an `error` then."""
    assert check.code_line is not None, "a built-in has a fence"
    where = f"{source}:{check.code_line}"
    code = PLACEHOLDER.sub(lambda match: f"\ue000{match[0][2:-2]}\ue001", check.code)
    text = YamlText(code, source, first_line=check.code_line + 1)
    root = text.root()
    body = text.value(root) if root is not None else None
    if not isinstance(body, dict):
        raise InputError("A built-in check holds `use:` and what it looks at.", where=where)
    body = {key: _as_written(value) if isinstance(value, str) else value for key, value in body.items()}
    use: Any = body.get("use")
    if use not in USES:
        hint = did_you_mean(str(use), USES) or f"There are {', '.join(USES)}."
        raise InputError(f"`use: {use}` is not a built-in check.", where=where, hint=hint)
    files, is_glob = _files(body, where)
    return BuiltIn(use, files, is_glob, _size(body, use, where), _pattern(body, use, where))


def _as_written(text: str) -> str:
    return text.replace("\ue000", "{{").replace("\ue001", "}}")


def _files(body: dict[str, Any], where: str) -> tuple[str, bool]:
    for key in ("path", "glob"):
        if isinstance(body.get(key), str) and (files := body[key].strip()):
            if key == "glob" and (odd := _NO_GLOB.search(files)):
                hint = "Give `*`, `**` or `?`, or several checks; a `path:` may have a bracket in its name."
                raise InputError(
                    f"`glob: {files}` has `{odd[0]}`, which stands for nothing here.", where=where, hint=hint
                )
            return files, key == "glob"
    raise InputError("A built-in check needs a `path:` or a `glob:`.", where=where)


def _size(body: dict[str, Any], use: str, where: str) -> int | None:
    if use != "min_size":
        return None
    size = next((body[key] for key in _SIZE_KEYS if key in body), None)
    if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_MIN_SIZE:
        return size
    raise InputError("`min_size` needs `bytes:`, a whole number.", where=where)


def _pattern(body: dict[str, Any], use: str, where: str) -> str | None:
    if not use.startswith("regex_"):
        return None
    pattern = next((body[key] for key in _PATTERN_KEYS if key in body), None)
    if isinstance(pattern, str) and pattern:
        return pattern
    raise InputError(f"`{use}` needs a `pattern:` in quotes.", where=where)
