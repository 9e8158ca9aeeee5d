"""Room `runbook`, `check`: which of many shell blocks do not parse, asked of the real bash with few processes.

All blocks go into one script, each fenced in so that its error can't reach the next, and `bash -n` reads it without
running anything. Where it stops, that block is asked again alone, for its own message, and the rest goes on. Blocks
that bash could not be asked about are reported, too.
"""

import os
import re
import select
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from runbook_runner.core.programs import find_program

BUDGET_S = 1.5
"""For all blocks of one call together, and so much more for each further file."""
MORE_PER_FILE_S = 0.25
MOST_PER_FILE = 100
"""Broken blocks of one file that are reported."""
_MAX_CHARACTERS = 200_000  # per block: no author wrote it, and bash's parser is recursive
_SHORT = 20_000  # characters of a block that may go with others: a long one must not take their time

# Whatever quote a block leaves open, one of these three closes it, and `;; ;` is an error anywhere.
_TRAP = """\n: ';; ;' ";; ;" '`;; ;`'\n"""
_BEFORE, _AFTER = "( { :\n", _TRAP + "} )\n"
_LINE = re.compile(r"(?:^|: )line (\d+): (.*)")
_LATE = "bash was not done with all blocks in time"


class Block(NamedTuple):
    code: str
    file: int = 0
    """Blocks of one file have the same number."""


class Broken(NamedTuple):
    block: int
    """Which of those that were given."""
    line: int
    """1-based, in the block."""
    message: str


class Unchecked(NamedTuple):
    """A block of which nothing is known."""

    block: int
    why: str


class NoBashError(Exception):
    """There is no bash on this machine."""


class _LateError(Exception):
    """The time was over before bash had answered."""


def broken_blocks(blocks: Sequence[Block], budget_s: float = BUDGET_S) -> Iterator[Broken | Unchecked]:
    """In no particular order. Raises NoBashError. A placeholder (`{{x}}`, `<file>`) counts as a word."""
    return _Batch(blocks, budget_s).results()


class _Batch:
    def __init__(self, blocks: Sequence[Block], budget_s: float):
        self._codes = [
            re.sub(r"\{\{[^{}\n]*\}\}", "x", block.code) if "{{" in block.code else block.code for block in blocks
        ]
        self._files = [block.file for block in blocks]
        self._found: Counter[int] = Counter()
        files = len(set(self._files))
        self._deadline = time.monotonic() + budget_s + MORE_PER_FILE_S * max(files - 1, 0)

    def results(self) -> Iterator[Broken | Unchecked]:
        together, alone = [], []
        for index, code in enumerate(self._codes):
            if len(code) > _MAX_CHARACTERS:
                yield Unchecked(index, f"it is longer than {_MAX_CHARACTERS:,} characters")
            elif len(code) > _SHORT or ("<<" in code and not _heredocs_end(code)):
                alone.append(index)
            else:
                together.append(index)
        yield from self._together(together)
        for index in alone:
            yield from self._alone(index)

    def _together(self, order: Sequence[int]) -> Iterator[Broken | Unchecked]:
        """Goes on behind each block at which bash gives up."""
        while order := [index for index in order if self._found[self._files[index]] < MOST_PER_FILE]:
            script = _BEFORE + (_AFTER + _BEFORE).join(self._codes[index] for index in order) + _AFTER
            try:
                error = _first_error(script, self._deadline)
            except _LateError:
                yield from (Unchecked(index, _LATE) for index in order)
                return
            if error is None:
                return
            position = _holding(self._codes, order, error[0])
            yield from self._alone(order[position])
            order = order[position + 1 :]

    def _alone(self, index: int) -> Iterator[Broken | Unchecked]:
        if self._found[self._files[index]] >= MOST_PER_FILE:
            return
        try:
            error = _error(self._codes[index], self._deadline)
        except _LateError:
            yield Unchecked(index, _LATE)
            return
        if error is not None:
            self._found[self._files[index]] += 1
            yield Broken(index, *error)


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
    filled = re.sub(r"<[A-Za-z](?:[^<>\n|&;()$`]{0,80}|[\w|.:/-]{0,80})>", "x", code)
    if filled != code:
        yield filled, ()
    if re.search(r"[?*+@!]\(", code):
        yield filled, ("-O", "extglob")


def _heredocs_end(code: str) -> bool:
    """Bash only warns about a here-document without an end, and it would swallow the blocks that follow."""
    words = {re.sub(r"['\"\\]", "", word) for word in re.findall(r"(?<!<)<<-?[ \t]*([^\s<;|&()]+)", code)}
    lines = {line.strip("\t\r") for line in code.split("\n")} if words else set()
    return words <= lines


# --- the process ---


@cache
def _bash() -> str:
    """Raises FileNotFoundError."""
    if found := find_program("bash"):
        return found
    raise FileNotFoundError("bash")


@cache
def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}  # no BASH_ENV: nothing of the user's is read


def _first_error(script: str, deadline: float, *options: str) -> tuple[int, str] | None:
    """Line and message of the first thing `bash -n` says; `None`: nothing. Raises _LateError."""
    if time.monotonic() > deadline:
        raise _LateError
    output = _bash_n(script.encode(), deadline, options)
    for line in output.splitlines():
        if match := _LINE.search(line):
            message = match[2].removeprefix("warning: ")
            if "here-doc" in message and message.endswith("')"):
                message = message.rpartition("(wanted `")[0].rstrip() or message
            return int(match[1]), message
    return None


def _bash_n(script: bytes, deadline: float, options: Sequence[str]) -> str:
    file = _file(script)
    read, write = os.pipe()
    try:
        os.set_inheritable(file, True)
        argv = ["bash", *options, "-n", f"/dev/fd/{file}"]
        pid = os.posix_spawn(_bash(), argv, _environment(), file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)])
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
    """What it says; it is gone afterwards. Raises _LateError."""
    output, poll = b"", select.poll()  # select() refuses descriptors from 1024 on
    poll.register(read, select.POLLIN)
    try:
        while poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            part = os.read(read, 65536)
            output += part[: 65536 - len(output)]
            if not part:
                return output.decode(errors="replace")
        os.kill(pid, 9)
        raise _LateError
    finally:
        os.close(read)
        os.waitpid(pid, 0)
