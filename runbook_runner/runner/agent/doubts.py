"""Runner: what gives rise to doubt in the work of an agent that ended well: an end is not yet a success."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Result
from runbook_runner.core.declared import McpServer
from runbook_runner.core.events import Event, ToolCalled, ToolReturned
from runbook_runner.core.text import printable_output
from runbook_runner.runner.agent.launch import Launch

if TYPE_CHECKING:
    from runbook_runner.gateway import Session

_SEARCH = "toolsearch"
"""A tool by which the model finds others, whose names the requests do not hold then."""
_MOST_SAID = 200  # characters


class ToolCalls:
    """Counts the calls of tools, and by their ids those that failed or were denied."""

    def __init__(self) -> None:
        self.made = 0
        self.last_output = ""
        """All that the last one returned."""
        self._failed: Counter[str] = Counter()

    def note(self, event: Event) -> None:
        if isinstance(event, ToolCalled):
            self.made += 1
        elif isinstance(event, ToolReturned):
            self._failed[event.call_id] += event.failed
            self.last_output = event.output

    def all_failed(self, also: Iterable[str]) -> bool:
        """also: ids of calls that failed without the stream telling it."""
        for call_id in also:
            if call_id in self._failed:
                self._failed[call_id] = max(1, self._failed[call_id])
        return 0 < self.made == self._failed.total()


def doubts(launch: Launch, result: Result, tools: ToolCalls) -> Iterator[str]:
    session = launch.session
    if session is None:
        return
    if not session.calls:
        yield "The agent ended without a call of its model."
        return
    for name in _unused(launch.agent_input.mcp_servers, result, session):
        yield (
            f"The MCP server {name} gave the agent no tools: it did not start, was refused, or did not answer in time. "
            "Its messages, if any, are in agent/stderr.log."
        )
    if tools.all_failed(launch.agent.failed_calls(session.conversation)):
        calls = "The agent's only tool call" if tools.made == 1 else f"Each of the agent's {tools.made} tool calls"
        said = _end(launch.redactor.clean(tools.last_output))
        yield f"{calls} failed or was denied; the last error: {said or 'no message'}"
    if launch.agent.declared is None and not result.text.strip():
        yield "The agent's last answer is empty."


def _unused(servers: Iterable[McpServer], result: Result, session: "Session") -> Iterator[str]:
    """The servers that the CLI says are down, or of which no request of the agent offers a tool to the model."""
    offered = {_plain(name) for name in session.tools}
    for server in servers:
        own = _plain(server.name)
        known = _SEARCH in offered or any(name.startswith((own, f"mcp{own}")) for name in offered)
        if server.name in result.servers_down or not known:
            yield server.name


def _end(output: str) -> str:
    said = " ".join(printable_output(output).split())
    return said if len(said) <= _MOST_SAID else f"…{said[-_MOST_SAID:]}"


def _plain(name: str) -> str:
    """CLIs spell names that an API does not allow in ways of their own."""
    return "".join(letter for letter in name if letter.isalnum()).lower()
