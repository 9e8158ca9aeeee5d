"""Agents: `shell`, which needs no model: it runs the code blocks under the `## Step` headings, one after the other.

Each block is a process of its own, started in `/app`, and one recorded tool call; the first that fails ends the run.
A driver in the sandbox (`shell_driver.py`) runs them all, so that a background process of one block lives until the
end. No block can change the code of a later one, nor write a line that passes for the driver's: what ran is what the
record shows. A block may replace the programs and files that later blocks use.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from runbook_runner.agents.base import Agent, AgentInput, Invocation, Result
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.jsonl import Record, code_at, count_at, parse_record, text_at
from runbook_runner.core import settings
from runbook_runner.core.declared import Block
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, AgentNotice, Event, ToolCalled, ToolReturned
from runbook_runner.core.text import counted

MAX_OUTPUT = 1 << 20  # bytes of one block's output that are recorded, besides its end
_MAX_NOISE = 2000
_NOT_FOUND = 127
_TAMPERED = "Lines of the shell agent's driver are missing: something in the sandbox took or spoiled them."
_WITHOUT_PYTHON = (
    "The shell agent needs a python3 in the sandbox: in Docker, --apt python3 brings it to an image of Debian; or use a"
    " snapshot that has it."
)

_COMMANDS = {
    "bash": ("bash", "-e", "-o", "pipefail", "-c"),
    "sh": ("sh", "-e", "-c"),
    "shell": ("sh", "-e", "-c"),
    "python": ("python3", "-u", "-c"),
    "python3": ("python3", "-u", "-c"),
}


def runnable(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block.language in _COMMANDS)


def invoke(agent_input: AgentInput) -> Invocation:
    blocks = runnable(agent_input.blocks)
    if not blocks:
        raise InputError(
            "The shell agent found nothing to run.",
            hint="Put a fenced bash, sh or python block under a '## Step 1: …' heading, or choose another --agent.",
        )
    for block in blocks:
        if (size := len(block.code.encode())) > settings.MAX_ARGUMENT_BYTES:
            where = f"{block.heading}: the {block.language} block at line {block.line}"
            raise InputError(
                f"{where} has {counted(size, 'byte')} with its values, and can have {settings.MAX_ARGUMENT_BYTES:,}.",
                hint="Give a long value as a file, with -f.",
            )
    commands = [[*_COMMANDS[block.language], block.code] for block in blocks]
    orders = {"key": agent_input.key, "most": MAX_OUTPUT, "blocks": commands}
    return Invocation(
        argv=("sh", "-c", 'exec python3 -I -S -c "$0"', _driver()),
        env={"PYTHONCOERCECLOCALE": "0"},  # else Python sets LC_CTYPE for the blocks (PEP 538)
        stdin=json.dumps(orders).encode(),
    )


@cache
def _driver() -> str:
    return resources.files("runbook_runner.agents.built_in").joinpath("shell_driver.py").read_text("utf-8")


def logged(line: str) -> str:
    """What the blocks printed, as they printed it, between lines that say where a block begins and ends."""
    record = parse_record(line.partition(" ")[2])
    if number := count_at(record, "begin"):
        return f"--- block {number}\n"
    text = text_at(record, "text")
    if tail := text_at(record, "tail"):
        text += f"\n[…]\n{tail}"
    if number := count_at(record, "end"):
        ended = f"--- block {number} ended with exit code {code_at(record, 'code') or 0}\n"
        return f"{text}\n{ended}" if text else ended
    return text if count_at(record, "out") else f"{line}\n"


class Reader:
    """Turns the driver's lines into one tool call per block. Any other line, which the driver did not write, becomes a
    notice."""

    def __init__(self, agent_input: AgentInput):
        self.finished = self.waits = False
        self._blocks = runnable(agent_input.blocks)
        self._key = bytes.fromhex(agent_input.key)
        self._last = 0
        """Number of the last line; an older one that comes again is not the driver's."""
        self._lost = False
        """A line did not come: a block can't write the driver's lines, but may take them out of the pipe."""
        self._output: list[str] = []
        self._more = 0
        """Bytes that are not in the output."""
        self._tail = ""
        """The end of the output, when it is too long."""
        self._running: Block | None = None
        self._cut: Block | None = None
        """The block that ran when the output ended."""
        self._begun = 0
        self._failed: str | None = None
        self._noise = ""

    def feed(self, line: str) -> Iterator[Event]:
        record = self._authentic(line)
        if record is None:
            if line.strip():
                self._noise = line[:_MAX_NOISE]
                yield AgentNotice(kind="unreadable", payload=self._noise)
        elif block := self._block(record, "begin"):
            yield self._begin(block)
        elif block := self._block(record, "out"):
            self._keep(block, record)
        elif block := self._block(record, "end"):
            yield from self._end(block, record)

    def _authentic(self, line: str) -> Record | None:
        """The driver's record of the line; `None` when the line is not the driver's."""
        said, _, text = line.partition(" ")
        expected = hashlib.blake2b(text.encode("utf-8", "replace"), key=self._key, digest_size=16).hexdigest()
        record = parse_record(text) if hmac.compare_digest(said.encode("utf-8", "replace"), expected.encode()) else None
        number = count_at(record, "n")
        if record is None or number <= self._last:
            return None
        self._lost = self._lost or number > self._last + 1
        self._last = number
        return record

    def _block(self, record: Record, what: str) -> Block | None:
        number = count_at(record, what)
        return self._blocks[number - 1] if 1 <= number <= len(self._blocks) else None

    def _keep(self, block: Block, record: Record) -> None:
        if block is self._running:  # else a background process of an earlier block: its lines are in the log only
            self._output.append(text_at(record, "text"))
            self._more += count_at(record, "more")
            self._tail = text_at(record, "tail")

    def _begin(self, block: Block) -> Event:
        self._begun += 1
        self._running, self._output, self._more, self._tail = block, [], 0, ""
        code: dict[str, Any] = {"language": block.language, "code": block.code}
        return ToolCalled(
            call_id=f"block-{self._begun}", name="shell", input={**code, "heading": block.heading, "line": block.line}
        )

    def _end(self, block: Block, record: Record) -> Iterator[Event]:
        self._keep(block, record)
        self._running = None
        code = code_at(record, "code") or 0
        yield ToolReturned(call_id=f"block-{self._begun}", output=self._text(), is_error=code != 0, exit_code=code)
        if code != 0:
            self._failed = (
                f"{block.heading}: the {block.language} block at line {block.line} ended with exit code {code}."
            )
        if code != 0 or self._begun == len(self._blocks):
            self.finished = True
            yield AgentMessage(text=self._summary())

    def _text(self) -> str:
        text = "".join(self._output)
        if (lost := self._more - len(self._tail.encode())) > 0:
            text = text.removesuffix("\n") + f"\n[{counted(lost, 'byte')} not recorded]\n"
        return (text + self._tail).removesuffix("\n")

    def _summary(self) -> str:
        ran = f"{self._begun} of {counted(len(self._blocks), 'block')} ran."
        return f"{ran} {self._failed}" if self._failed else ran

    def rest(self) -> Iterator[Event]:
        """What the block had printed that was cut."""
        if self._running:
            self._cut, self._running = self._running, None
            yield ToolReturned(call_id=f"block-{self._begun}", output=self._text(), is_error=True)

    def result(self, exit_code: int | None) -> Result:
        if self._lost:
            return Result(text=self._summary(), error=_TAMPERED, error_kind="record_incomplete")
        if self._failed:
            return Result(text=self._summary(), error=self._failed, error_kind="block_failed", output=self._text())
        if self.finished:
            return Result(text=self._summary())
        if exit_code == _NOT_FOUND and not self._begun:
            return Result(error=_WITHOUT_PYTHON, error_kind="shell_missing")
        where = f" in {self._cut.heading}" if self._cut else ""
        said = f" Its last output: {self._noise}" if self._noise else ""
        return Result(text=self._summary(), error=f"The shell agent was ended{where}.{said}", error_kind="crashed")


AGENT = Agent(facts=BUILT_IN_AGENTS["shell"], binary="sh", invoke=invoke, reader=Reader, logged=logged)
