"""Run by `content.py` in a process of its own, with nothing but the standard library: stdin says what is looked for in
which files, stdout has what is wrong with those that are not as they should be."""

import json
import os
import re
import signal
import sys
from pathlib import Path

MEMORY = 1 << 30
PR_SET_PDEATHSIG = 1  # linux/prctl.h
JSON_LINES = (".jsonl", ".ndjson")


def main() -> None:
    asked = json.load(sys.stdin)
    if sys.platform == "linux":
        limit(asked["cpu_s"])
        end_with(asked["parent"])
    try:
        pattern = re.compile(asked["pattern"], re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        sys.exit(f"the pattern is not a regular expression: {error}")
    found = {}
    for name, path in asked["files"].items():
        try:
            text = Path(path).read_bytes().decode("utf-8", "replace")
            if asked["kind"] == "json":
                problem = json_problem(name, text)
            else:
                problem = "no match" if pattern.search(text) is None else None
        except MemoryError:
            sys.exit(f"{name} needs too much memory")
        if problem:
            found[name] = problem
    sys.stdout.write(json.dumps(found))


def limit(cpu_s: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))


def end_with(parent: int) -> None:
    """Linux kills this process when its parent, which may be killed itself, is gone."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def json_problem(name: str, text: str) -> str | None:
    lines = enumerate(text.split("\n"), 1) if name.lower().endswith(JSON_LINES) else [(0, text)]
    for number, document in lines:
        try:
            if document.strip() or not number:
                json.loads(document, parse_constant=no_constant)
        except json.JSONDecodeError as error:
            return f"line {number or error.lineno}: {error.msg}"
        except RecursionError:
            return "it is nested too deeply"
        except ValueError as error:
            return str(error)
    return None


def no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


if __name__ == "__main__":
    main()
