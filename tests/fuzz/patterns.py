"""Attacks every regular expression of the package with repeats of its own parts; prints those whose work grows faster
than the text. Work is CPU time, and counts only by its growth from one length to four times that length."""

import ast
import importlib
import pkgutil
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from re import _constants as C  # noqa: N812 # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any

import runbook_runner

LENGTH = 6000
MOST = 400  # strings a pattern
NOTABLE_S = 0.004
METHODS = {"search", "match", "fullmatch", "sub", "split", "findall", "finditer"}
OF_CATEGORY = {C.CATEGORY_SPACE: " ", C.CATEGORY_DIGIT: "1", C.CATEGORY_WORD: "a", C.CATEGORY_NOT_SPACE: "a"}
# In the sandbox only, or without effect on import, or only for text that ends as the pattern says.
LEFT_OUT = ("__main__", "inside.tunnel", "inside.forward", "hermes_plugin", "shell_driver", "supervisor")
ALLOWED = {
    r"[^\r\n\x85\u2028\u2029]*(?:\r\n|[\r\n\x85\u2028\u2029])",  # text that ends in a line end
    r"(?<!\s)\s++#.*$",  # one line
}


def sample(parsed: Any, pumps: set[str]) -> str:
    """A text that the pattern may match; adds what its parts match."""
    text = ""
    for kind, value in parsed:
        found = ""
        if kind is C.LITERAL:
            found = chr(value)
        elif kind in (C.ANY, C.NOT_LITERAL):
            found = "a"
        elif kind is C.IN:
            several = [one for one in map(_of_set, value) if one] or ["a"]
            pumps.update(several)
            found = several[0]
        elif kind in (C.MAX_REPEAT, C.MIN_REPEAT, C.POSSESSIVE_REPEAT):
            pumps.add(text)  # a search begins at each, and goes on to the end
            once = sample(value[2], pumps)
            pumps.add(once)
            found = once * min(max(value[0], 1), 500)
        elif kind is C.SUBPATTERN:
            found = sample(value[3], pumps)
        elif kind is C.ATOMIC_GROUP:
            found = sample(value, pumps)
        elif kind is C.BRANCH:
            branches = [sample(branch, pumps) for branch in value[1]]
            pumps.update(branches)
            found = branches[0]
        pumps.add(found)
        text += found
    pumps.add(text)
    return text


def _of_set(item: Any) -> str | None:
    kind, value = item
    if kind is C.LITERAL:
        return chr(value)
    if kind is C.RANGE:
        return chr(value[0])
    return OF_CATEGORY.get(value, "-") if kind is C.CATEGORY else None


def strings(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Yields what to begin with, to repeat, and to end with."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    flags = pattern.flags if isinstance(pattern.pattern, str) else pattern.flags & ~re.UNICODE
    pumps = {" ", "\n", "a", "-", "\t"}
    whole = sample(_parser.parse(source, flags), pumps)
    heads = sorted({"", whole[: len(whole) // 2], *(whole[:n] for n in range(1, min(len(whole), 12)))})
    for head in heads:
        for pump in sorted(filter(None, pumps), key=len):
            yield from ((head, pump, end) for end in ("\x00", "!", "\nx"))


class TooLongError(Exception):
    """The alarm has rung."""


def work(pattern: re.Pattern[Any], method: str, text: str) -> float:
    """Seconds of CPU time; infinity when it takes longer than any search should."""
    subject: Any = text if isinstance(pattern.pattern, str) else text.encode("utf-8", "replace")
    nothing: Any = "" if isinstance(pattern.pattern, str) else b""
    signal.setitimer(signal.ITIMER_PROF, 2.0)
    began = time.process_time()
    try:
        if method == "sub":
            pattern.sub(nothing, subject)
        elif method in ("findall", "finditer"):
            for _ in pattern.finditer(subject):
                pass
        else:
            getattr(pattern, method)(subject)
    except TooLongError:
        return float("inf")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return time.process_time() - began


def worst(pattern: re.Pattern[Any], method: str) -> tuple[str, str, str] | None:
    """The strings for which four times the text is far more than four times the work."""

    def ring(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGPROF, ring)
    for number, (head, pump, end) in enumerate(strings(pattern)):
        if number >= MOST:
            break
        times = max(1, LENGTH // len(pump))
        once = work(pattern, method, head + pump * times + end)
        if once == float("inf"):
            return head, pump, end
        if once >= NOTABLE_S:
            # Three times, the least counts: others work on this machine as well.
            once = min(once, *(work(pattern, method, head + pump * times + end) for _ in range(2)))
            more = min(work(pattern, method, head + pump * times * 4 + end) for _ in range(3))
            if once >= NOTABLE_S and more > 9 * once:
                return head, pump, end
    return None


def patterns() -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """Yields where it is used, the pattern, and the method that is called; those made while running are not among
    them."""
    for found in pkgutil.walk_packages(runbook_runner.__path__, "runbook_runner."):
        if not found.name.endswith(LEFT_OUT):
            module = importlib.import_module(found.name)
            yield from _of_module(module)


def _of_module(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any], str]]:
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    used = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        owner = node.func.value
        found = _compiled(module, node) if isinstance(owner, ast.Name) and owner.id == "re" else None
        if isinstance(owner, ast.Name) and isinstance(vars(module).get(owner.id), re.Pattern):
            found = vars(module)[owner.id]
        if found is not None:
            used.add(found)
            yield f"{module.__name__}:{node.lineno}", found, node.func.attr
    for name, value in vars(module).items():
        for found in _within(value):
            if found not in used:
                yield f"{module.__name__}.{name}", found, "finditer"


def _compiled(module: ModuleType, call: ast.Call) -> re.Pattern[Any] | None:
    """The pattern of `re.search(…)` and the like, as far as it is a constant of the module."""
    given = [call.args[0], *(part for part in call.args[2:]), *(word.value for word in call.keywords)]
    values = []
    for part in given:
        try:
            values.append(eval(compile(ast.Expression(part), "x", "eval"), vars(module)))
        except Exception:  # a variable
            values.append(None)
    if not isinstance(values[0], (str, bytes)):
        return None
    return re.compile(values[0], sum({int(v) for v in values[1:] if isinstance(v, re.RegexFlag)}))


def _within(value: Any, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth < 3 and isinstance(value, (tuple, list, set, frozenset, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _within(item, depth + 1)


def main() -> None:
    seen = set()
    for where, pattern, method in patterns():
        if (pattern, method) in seen or pattern.pattern in ALLOWED:
            continue
        seen.add((pattern, method))
        if found := worst(pattern, method):
            sys.stdout.write(f"{where} {method} {found!r}: {pattern.pattern!r}\n")


if __name__ == "__main__":
    main()
