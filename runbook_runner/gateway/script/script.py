"""Gateway: a model script, the upstream that answers from a file instead of a provider."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from runbook_runner.core.events import Usage
from runbook_runner.core.patterns import finds
from runbook_runner.core.text import counted, nearest
from runbook_runner.gateway.dialects.base import ParsedRequest, ParsedResponse, Reply, Tool, ToolCall, readable
from runbook_runner.gateway.large import work
from runbook_runner.gateway.script.shell_tool import find_shell, polls, shell_input
from runbook_runner.gateway.script.turns import ScriptedTool, Turn
from runbook_runner.gateway.upstream import Answer, GatewayFailure, ModelRequest, UpstreamBroke, error_answer

SIDE_TEXT: Final = "OK."
_BYTES_PER_TOKEN: Final = 4  # about right for English and code; no price depends on it
_SHOWN_CHARS: Final = 500
_MOST_NAMES, _MOST_NAME = 8, 60  # of tools, and characters of one


@dataclass(frozen=True)
class ModelScript:
    """The turns of one script file. An Upstream; see `load_script`."""

    path: Path
    turns: tuple[Turn, ...]
    lines: tuple[int, ...]
    """Where each turn begins in the file, 1-based."""
    source: Literal["script"] = "script"
    id_prefix: str = "script"
    """The ids of answers and tool calls begin with it. A script that continues a conversation needs another one: Claude
    Code 2.1.330 drops a tool call whose id it has seen, and then asks the same question forever."""
    first: int = 0
    """0-based, the turn with which a conversation begins."""

    def resumed(self, turns: int) -> "ModelScript":
        return replace(self, first=turns)

    def placed(self, localise: Callable[[str], str]) -> "ModelScript":
        """The script as a model would have written it that was told the paths of one sandbox, not `/app/...`."""
        return replace(self, turns=tuple(turn.placed(localise) for turn in self.turns))

    def connect(self) -> "ScriptConnection":
        return ScriptConnection(self)

    @property
    def address(self) -> None:
        return None

    def secret_values(self) -> dict[str, str]:
        return {}

    def cost(self, model: str, response: ParsedResponse) -> float | None:
        """Each answer has its cost with it (see `ScriptedUsage.cost`)."""
        return None

    def where(self, number: int) -> str:
        return f"turn {number + 1} of the model script {self.path}, line {self.lines[number]},"


class Unservable(Exception):  # noqa: N818 (becomes the agent's HTTP 400 and the session's failure)
    """The script has no answer to this request."""


class ScriptConnection:
    """One session's progress in a script."""

    def __init__(self, script: ModelScript):
        self._script = script
        self._next = script.first
        self._served: dict[str, int] = {}
        self._sides = 0
        self._tools_seen = False
        self._answered = 0
        """Messages of the conversation that earlier turns have answered."""
        self._choosing = asyncio.Lock()

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        if request.operation == "count_tokens":
            count = request.dialect.token_count(len(request.body) // _BYTES_PER_TOKEN)
            yield _answer("count", [json.dumps(count).encode()], stream=False)
            return
        parsed = request.parsed
        try:
            async with self._choosing:
                number, reply = await work(request.large, self._choose, parsed)
        except Unservable as error:
            message = str(error)
            yield error_answer(request.dialect, 400, message, GatewayFailure("script", message))
            return
        chunks = request.dialect.render(reply, parsed)
        if number is None:
            yield _answer(reply.id, chunks, stream=parsed.stream, side=True)
            return
        turn = self._script.turns[number]
        await asyncio.sleep(turn.delay)
        yield self._failure(request, number, chunks) or _answer(
            reply.id, chunks, stream=parsed.stream, cost_usd=turn.usage.cost
        )

    def _choose(self, parsed: ParsedRequest) -> tuple[int | None, Reply]:
        """Returns the turn and the reply for this request; `None` instead of a turn for a reply that uses none."""
        number = None if self._is_waiting(parsed) else self._turn(parsed)
        return number, self._side_reply(parsed) if number is None else self._reply(number, parsed)

    def _turn(self, parsed: ParsedRequest) -> int | None:
        """Returns the turn for this request; `None` for a side request. A question that was answered already gets the
        same turn, since a CLI that lost the answer asks again; after a turn that fails it gets the next one."""
        key = _digest(parsed)
        if key in self._served:
            return self._served[key]
        if self._is_side(parsed):
            return None
        self._tools_seen = self._tools_seen or bool(parsed.tools)
        number = self._next
        if number >= len(self._script.turns):
            raise Unservable(
                f"the script {self._script.path} ended after {counted(len(self._script.turns), 'turn')}, "
                "and another answer is asked for"
            )
        self._expect(number, parsed)
        self._calls(number, parsed)
        self._next += 1
        if self._script.turns[number].error is None:
            self._served[key] = number
            self._answered = len(parsed.conversation)
        return number

    def _is_side(self, parsed: ParsedRequest) -> bool:
        """Whether the request is outside the agent's main loop. CLIs ask for titles and summaries without tools; the
        main loop has had tools, or the script goes on with one."""
        if parsed.tools:
            return False
        return self._tools_seen or any(turn.needs_tool for turn in self._script.turns[self._next :])

    def _is_waiting(self, parsed: ParsedRequest) -> bool:
        """A command of the last turn is still running. A script that calls other tools polls by itself."""
        last = self._script.turns[self._next - 1 : self._next] if self._next else ()
        return any(turn.commands for turn in last) and bool(polls(parsed))

    def _side_reply(self, parsed: ParsedRequest) -> Reply:
        """Returns a reply that uses no turn: a wait for a command, or the answer to a side request."""
        self._sides += 1
        name = f"{self._script.id_prefix}_side_{self._sides:04d}"
        calls = tuple(ToolCall(f"{name}_{index}", tool, value) for index, (tool, value) in enumerate(polls(parsed), 1))
        return Reply(name, None, None if calls else SIDE_TEXT, calls, Usage())

    def _expect(self, number: int, parsed: ParsedRequest) -> None:
        pattern = self._script.turns[number].expect
        if pattern is None:
            return
        new = (
            parsed.conversation[self._answered :] if len(parsed.conversation) > self._answered else parsed.conversation
        )
        text = "\n".join(_texts(new))
        if not finds(f"(?m){pattern}", text):
            raise Unservable(
                f"{self._script.where(number)} expects {pattern!r}, but the request says: {text[-_SHOWN_CHARS:]}"
            )

    def _reply(self, number: int, parsed: ParsedRequest) -> Reply:
        turn = self._script.turns[number]
        text = turn.say if turn.error != "drop" else turn.say or SIDE_TEXT
        return Reply(self._id(number), turn.think, text, self._calls(number, parsed), turn.tokens(), turn.stop)

    def _id(self, number: int) -> str:
        return f"{self._script.id_prefix}_{number + 1:04d}"

    def _calls(self, number: int, parsed: ParsedRequest) -> tuple[ToolCall, ...]:
        turn = self._script.turns[number]
        wanted = [self._shell(command, turn.timeout, number, parsed) for command in turn.commands]
        wanted += [(self._offered(tool, number, parsed), tool.input) for tool in turn.other_tools]
        ids = (self._id(number) + (f"_{index}" if index > 1 else "") for index in range(1, len(wanted) + 1))
        return tuple(ToolCall(id_, tool, value) for id_, (tool, value) in zip(ids, wanted, strict=True))

    def _shell(
        self, command: str, timeout: float | None, number: int, parsed: ParsedRequest
    ) -> tuple[Tool, dict[str, Any]]:
        shell = find_shell(parsed.tools)
        if shell is None:
            where = self._script.where(number)
            raise Unservable(f"{where} runs a shell command, but the request offers no shell tool, {_only(parsed)}")
        return shell, shell_input(shell.schema, command, timeout)

    def _offered(self, wanted: ScriptedTool, number: int, parsed: ParsedRequest) -> Tool:
        offered = {tool.name: tool for tool in parsed.tools}
        if wanted.name not in offered:
            alike = {name.lower(): name for name in offered}
            near = nearest(wanted.name.lower(), alike)
            hint = f" Did you mean {alike[near]}?" if near else ""
            where = self._script.where(number)
            raise Unservable(f"{where} calls {wanted.name}, which the request does not offer, {_only(parsed)}{hint}")
        return offered[wanted.name]

    def _failure(self, request: ModelRequest, number: int, chunks: list[bytes]) -> Answer | None:
        turn, where = self._script.turns[number], self._script.where(number)
        if turn.error == "drop":
            kind = "text/event-stream" if request.parsed.stream else "application/json"
            broken = _half(chunks, f"{where} drops the connection")
            return Answer(200, (("content-type", kind),), broken, cost_usd=turn.usage.cost, unbuffered=True)
        if turn.error is None:
            return None
        headers = () if turn.retry_after is None else (("retry-after", f"{turn.retry_after:g}"),)
        said = turn.message or f"{where} fails with {turn.error}"
        return error_answer(request.dialect, turn.error, said, headers=headers)


def _only(parsed: ParsedRequest) -> str:
    names = [readable(tool.name, _MOST_NAME) for tool in parsed.tools]
    more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return f"only: {', '.join([*names[:_MOST_NAMES], *more]) or 'nothing'}."


def _digest(parsed: ParsedRequest) -> str:
    canonical = json.dumps(parsed.identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _texts(value: Any) -> Iterator[str]:
    """Yields every string in a message, except its role and type."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for key, item in value.items() if key not in ("role", "type") for text in _texts(item))
    elif isinstance(value, (list, tuple)):
        yield from (text for item in value for text in _texts(item))


def _answer(
    name: str, chunks: list[bytes], *, stream: bool, side: bool = False, cost_usd: float | None = None
) -> Answer:
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    headers = (("content-type", kind), ("request-id", f"req_{name}"))
    return Answer(200, headers, _each(chunks), side=side, cost_usd=cost_usd)


async def _each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _half(chunks: list[bytes], reason: str) -> AsyncIterator[bytes]:
    """Yields the first half of an answer, then breaks off."""
    whole = b"".join(chunks)
    yield whole[: len(whole) // 2]
    raise UpstreamBroke(reason)
