"""Agents: `shell`, which needs no model: it runs the code blocks under the `## Step` headings, one after the other.

Each block is a process of its own, started in `/app`, and one recorded tool call; the first that fails ends the run.
A driver script in the sandbox runs them all, so that a background process of one block lives until the end. The driver
marks where a block begins and ends with lines that carry the run's mark, a random word.
"""

import re
from collections.abc import Iterator

from runbook_runner.agents.base import Agent, AgentInput, Invocation, Result
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.core import settings
from runbook_runner.core.declared import Block
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, Event, ToolCalled, ToolReturned

FOLDER = f"{settings.PRIVATE}/shell"
MAX_OUTPUT = 1 << 20  # characters of one block's output that are recorded

_COMMANDS = {
    "bash": "bash -e -o pipefail",
    "sh": "sh -e",
    "shell": "sh -e",
    "python": "python3 -u",
    "python3": "python3 -u",
}

_DRIVER = """\
#!/bin/sh
run() {
  number=$1; shift
  printf '\\n%s begin %s\\n' 'MARK' "$number"
  "$@" </dev/null 2>&1
  code=$?
  printf '\\n%s end %s %s\\n' 'MARK' "$number" "$code"
  [ "$code" -eq 0 ] || exit "$code"
}
"""


def runnable(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block.language in _COMMANDS)


def invoke(agent_input: AgentInput) -> Invocation:
    blocks = runnable(agent_input.blocks)
    if not blocks:
        raise InputError(
            "The shell agent found nothing to run.",
            hint="Put a fenced bash, sh or python block under a '## Step 1: …' heading, or choose another --agent.",
        )
    folder = agent_input.local(FOLDER)
    lines = [f"run {n} {_COMMANDS[b.language]} '{folder}/{n}'" for n, b in enumerate(blocks, 1)]
    files = {f"{FOLDER}/{n}": block.code.encode() for n, block in enumerate(blocks, 1)}
    driver = _DRIVER.replace("MARK", agent_input.mark) + "\n".join(lines) + "\n"
    return Invocation(argv=("sh", f"{folder}/driver"), files={**files, f"{FOLDER}/driver": driver.encode()})


class Reader:
    """Turns the driver's marked output into one tool call per block."""

    def __init__(self, agent_input: AgentInput):
        self.finished = self.waits = False
        self._blocks = runnable(agent_input.blocks)
        self._mark = re.compile(re.escape(agent_input.mark) + r" (begin|end) (\d{1,9})(?: (\d{1,3}))?")
        self._output: list[str] = []
        self._size = 0
        self._running: Block | None = None
        self._begun = 0
        self._failed: str | None = None

    def feed(self, line: str) -> Iterator[Event]:
        match = self._mark.fullmatch(line)
        if not match or not 1 <= int(match[2]) <= len(self._blocks):  # a block can print what the driver prints
            self._keep(line)
        elif match[1] == "begin":
            yield self._begin(int(match[2]))
        else:
            yield from self._end(int(match[2]), int(match[3] or 0))

    def _keep(self, line: str) -> None:
        if self._size < MAX_OUTPUT:
            self._output.append(line[: MAX_OUTPUT - self._size])
        self._size += len(line) + 1

    def _begin(self, number: int) -> Event:
        block = self._blocks[number - 1]
        self._begun += 1
        self._running, self._output, self._size = block, [], 0
        code = {"language": block.language, "code": block.code, "heading": block.heading, "line": block.line}
        return ToolCalled(call_id=f"block-{number}", name="shell", input=code)

    def _end(self, number: int, code: int) -> Iterator[Event]:
        block = self._blocks[number - 1]
        self._running = None
        yield ToolReturned(call_id=f"block-{number}", output=self._text(), is_error=code != 0, exit_code=code)
        if code != 0:
            self._failed = (
                f"{block.heading}: the {block.language} block at line {block.line} ended with exit code {code}."
            )
        if code != 0 or number == len(self._blocks):
            self.finished = True
            yield AgentMessage(text=self._summary())

    def _text(self) -> str:
        # The line end that the driver puts before its mark is not part of the output.
        lines = self._output[:-1] if self._output and not self._output[-1] else self._output
        cut = f"\n[{self._size - MAX_OUTPUT} more characters not recorded]" if self._size > MAX_OUTPUT else ""
        return "\n".join(lines) + cut

    def _summary(self) -> str:
        ran = f"{self._begun} of {len(self._blocks)} blocks ran."
        return f"{ran} {self._failed}" if self._failed else ran

    def rest(self) -> Iterator[Event]:
        return iter(())

    def result(self, exit_code: int | None) -> Result:
        if self._failed:
            return Result(text=self._summary(), error=self._failed, error_kind="block_failed")
        if not self.finished:
            where = f" in {self._running.heading}" if self._running else ""
            return Result(text=self._summary(), error=f"The shell agent was ended{where}.", error_kind="crashed")
        return Result(text=self._summary())


AGENT = Agent(facts=BUILT_IN_AGENTS["shell"], binary="sh", invoke=invoke, reader=Reader)
