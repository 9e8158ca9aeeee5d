"""Room `runbook`, `check`: which of many shell blocks do not parse, asked of the real bash with few processes.

All blocks go into one script, each fenced in so that its error can't reach the next, and `bash -n` reads it without
running anything. Where it stops, that block is asked again alone, for its own message, and the rest goes on.
"""

import os
import re
import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

BUDGET_S = 1.2
"""For all blocks of one call together; what is left then stays unchecked."""
_MAX_CHARACTERS = 200_000  # per block: no author wrote it, and bash's parser is recursive

# Whatever quote a block leaves open, one of these three closes it, and `;; ;` is an error anywhere.
_TRAP = """\n: ';; ;' ";; ;" '`;; ;`'\n"""
_BEFORE, _AFTER = "( { :\n", _TRAP + "} )\n"
_LINE = re.compile(r"(?:^|: )line (\d+): (.*)")


@dataclass(frozen=True)
class Broken:
    index: int
    """Of the block that was given."""
    line: int
    """1-based, in the block."""
    message: str


class NoBashError(Exception):
    """There is no bash on this machine."""


def broken_blocks(blocks: Sequence[str]) -> Iterator[Broken]:
    """Raises NoBashError. A placeholder (`{{x}}`, `<file>`) counts as a word."""
    codes = [re.sub(r"\{\{[^{}\n]*\}\}", "x", code) if "{{" in code else code for code in blocks]
    deadline = time.monotonic() + BUDGET_S
    waiting = [index for index, code in enumerate(codes) if len(code) <= _MAX_CHARACTERS]
    alone = [index for index in waiting if "<<" in codes[index] and not _heredocs_end(codes[index])]
    kept_apart = set(alone)
    together = [index for index in waiting if index not in kept_apart]
    for index in chain(alone, _stops(codes, together, deadline)):
        if time.monotonic() > deadline:
            return
        if (error := _error(codes[index], deadline)) is not None:
            yield Broken(index, *error)


def _stops(codes: Sequence[str], order: Sequence[int], deadline: float) -> Iterator[int]:
    """The blocks at which bash gives up, each time going on behind it."""
    while order and time.monotonic() < deadline:
        error = _first_error(_BEFORE + (_AFTER + _BEFORE).join(codes[index] for index in order) + _AFTER, deadline)
        if error is None:
            return
        position = _holding(codes, order, error[0])
        yield order[position]
        order = order[position + 1 :]


def _holding(codes: Sequence[str], order: Sequence[int], line: int) -> int:
    """The position in `order` of the block with this line of the joint script."""
    last = 0
    for position, index in enumerate(order):
        last += codes[index].count("\n") + _BEFORE.count("\n") + _AFTER.count("\n")
        if line <= last:
            return position
    return len(order) - 1


def _error(code: str, deadline: float) -> tuple[int, str] | None:
    """Line and message for one block on its own; `None` when there is a reading in which it parses."""
    error = _first_error(code, deadline)
    if error is None:
        return None
    for other, options in _readings(code):
        if _first_error(other, deadline, *options) is None:
            return None
    return min(error[0], code.rstrip().count("\n") + 1), error[1]


def _readings(code: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Other ways an author may mean it: `<file>` as a placeholder, patterns that need `shopt -s extglob`."""
    filled = re.sub(r"<[A-Za-z][^<>\n|&;()$`]{0,80}>", "x", code)
    if filled != code:
        yield filled, ()
    if re.search(r"[?*+@!]\(", code):
        yield filled, ("-O", "extglob")


def _heredocs_end(code: str) -> bool:
    """Bash only warns about a here-document without an end, and it would swallow the blocks that follow."""
    lines = code.split("\n")
    ends = {line.rstrip("\r") for line in lines} | {line.lstrip("\t").rstrip("\r") for line in lines}
    words = re.findall(r"(?<!<)<<-?[ \t]*([^\s<;|&()]+)", code)
    return all(re.sub(r"['\"\\]", "", word) in ends for word in words)


# --- the process ---


@cache
def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}  # no BASH_ENV: nothing of the user's is read


def _first_error(script: str, deadline: float, *options: str) -> tuple[int, str] | None:
    """Line and message of the first thing `bash -n` says; `None`: nothing, or no time left to say it."""
    said = _bash_n(script.encode(), deadline, options)
    for line in said.splitlines():
        if match := _LINE.search(line):
            message = match[2].removeprefix("warning: ")
            return int(match[1]), re.sub(r"\s*\(wanted `[^']*'\)$", "", message) if "here-doc" in message else message
    return None


def _bash_n(script: bytes, deadline: float, options: Sequence[str]) -> str:
    file = _file(script)
    read, write = os.pipe()
    try:
        os.set_inheritable(file, True)
        argv = ["bash", *options, "-n", f"/dev/fd/{file}"]
        pid = os.posix_spawnp("bash", argv, _environment(), file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)])
    except FileNotFoundError as error:
        os.close(read)
        raise NoBashError from error
    finally:
        os.close(write)
        os.close(file)
    return _collect(pid, read, deadline)


def _file(script: bytes) -> int:
    """A file that is nowhere: bash reads a pipe one byte at a time."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("blocks")
    else:
        import tempfile

        with tempfile.TemporaryFile() as aside:
            file = os.dup(aside.fileno())
    while script:
        script = script[os.write(file, script) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _collect(pid: int, read: int, deadline: float) -> str:
    """What it says until it ends or its time is up; it is gone afterwards."""
    said = b""
    try:
        while select.select([read], [], [], max(deadline - time.monotonic(), 0))[0]:
            part = os.read(read, 65536)
            said += part[: 65536 - len(said)]
            if not part:
                return said.decode(errors="replace")
        os.kill(pid, 9)
        return ""
    finally:
        os.close(read)
        os.waitpid(pid, 0)
