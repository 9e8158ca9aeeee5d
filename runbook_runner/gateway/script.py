"""Gateway: a model script, the upstream that answers from a file instead of a provider."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr, model_validator

from runbook_runner.events import Usage
from runbook_runner.gateway.dialects.base import Ask, Call, Reply
from runbook_runner.gateway.shell_tool import find_shell, shell_input
from runbook_runner.gateway.upstream import Answer, GatewayFailure, ModelRequest, error_answer

SIDE_TEXT = "OK."
_BYTES_PER_TOKEN = 4  # a rule of thumb for English and code; nothing is billed by it


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScriptedTool(Part):
    name: StrictStr = Field(min_length=1)
    input: dict[str, Any] = {}


class ScriptedUsage(Part):
    """Tokens of one turn; what is not given is zero."""

    input: int = Field(0, ge=0)
    output: int = Field(0, ge=0)
    cache_read: int = Field(0, ge=0)
    cache_write: int = Field(0, ge=0)


class Turn(Part):
    """One answer of the scripted model."""

    say: StrictStr | None = None
    """Text; it comes before the tool call."""
    shell: StrictStr | None = None
    """A command for whatever shell tool the agent offers."""
    tool: ScriptedTool | None = None
    """Any other tool, by its name."""
    usage: ScriptedUsage = ScriptedUsage()

    @model_validator(mode="after")
    def _does_something(self) -> "Turn":
        if self.say is None and self.shell is None and self.tool is None:
            raise ValueError("A turn needs at least one of say, shell and tool.")
        if self.shell is not None and self.tool is not None:
            raise ValueError("A turn calls one tool: shell or tool, not both.")
        return self

    @property
    def needs_tool(self) -> bool:
        return self.shell is not None or self.tool is not None

    def tokens(self) -> Usage:
        return Usage(
            prompt_tokens=self.usage.input,
            completion_tokens=self.usage.output,
            cache_read_tokens=self.usage.cache_read,
            cache_write_tokens=self.usage.cache_write,
        )


@dataclass(frozen=True)
class ModelScript:
    """The turns of one script file. An Upstream; see `load_script`."""

    path: Path
    turns: tuple[Turn, ...]
    source: Literal["script"] = "script"

    def connect(self) -> "Cursor":
        return Cursor(self)

    def secret_values(self) -> dict[str, str]:
        return {}


class Unservable(Exception):  # noqa: N818 (becomes the agent's HTTP 400 and the session's failure)
    """The script has no answer to this request."""


class Cursor:
    """One session's place in a script."""

    def __init__(self, script: ModelScript):
        self._script = script
        self._next = 0
        self._served: dict[str, int] = {}
        self._sides = 0
        self._tools_seen = False

    async def aclose(self) -> None:
        """Nothing to let go of."""

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        if request.operation == "count_tokens":
            count = request.dialect.count(len(request.body) // _BYTES_PER_TOKEN)
            yield _answer("count", [json.dumps(count).encode()], stream=False)
            return
        try:
            reply, side = self._reply(request.ask)
        except Unservable as problem:
            message = str(problem)
            yield error_answer(request.dialect, 400, message, GatewayFailure("script", message))
            return
        stream = request.ask.stream
        yield _answer(reply.id, request.dialect.render(reply, stream), stream=stream, side=side)

    def _reply(self, ask: Ask) -> tuple[Reply, bool]:
        """The turn for this request; a question that was already answered gets the same turn, since a CLI that lost
        the answer asks again. A side request gets a neutral text."""
        key = _digest(ask)
        number = self._served.get(key, self._next)
        if key not in self._served and self._is_side(ask):
            self._sides += 1
            return Reply(f"msg_side_{self._sides:04d}", ask.model, SIDE_TEXT, None, Usage()), True
        self._tools_seen = self._tools_seen or bool(ask.tools)
        if number >= len(self._script.turns):
            raise Unservable(
                f"the model script {self._script.path} ended after {len(self._script.turns)} turns, "
                "but the agent asked for another answer"
            )
        reply = self._render(number, ask)
        if key not in self._served:
            self._served[key] = self._next
            self._next += 1
        return reply, False

    def _is_side(self, ask: Ask) -> bool:
        """A request without tools is no part of an agent's main loop when that loop has tools, or when the script
        goes on with a tool: CLIs ask for titles and summaries that way."""
        if ask.tools:
            return False
        more = self._next < len(self._script.turns)
        return self._tools_seen or (more and self._script.turns[self._next].needs_tool)

    def _render(self, number: int, ask: Ask) -> Reply:
        turn = self._script.turns[number]
        call = None
        if turn.needs_tool:
            name, value = self._call(turn, number, ask)
            call = Call(f"toolu_script_{number + 1:04d}", name, value)
        return Reply(f"msg_script_{number + 1:04d}", ask.model, turn.say, call, turn.tokens())

    def _call(self, turn: Turn, number: int, ask: Ask) -> tuple[str, dict[str, Any]]:
        offered = [tool.name for tool in ask.tools]
        where = f"turn {number + 1} of the model script {self._script.path}"
        if turn.shell is not None:
            shell = find_shell(ask.tools)
            if shell is None:
                raise Unservable(f"{where} runs a shell command, but the request offers no shell tool, only: {offered}")
            return shell.name, shell_input(shell.schema, turn.shell)
        assert turn.tool is not None
        if turn.tool.name not in offered:
            near = get_close_matches(turn.tool.name, offered, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Unservable(f"{where} calls {turn.tool.name}, but the request offers only: {offered}{hint}")
        return turn.tool.name, turn.tool.input


def _digest(ask: Ask) -> str:
    canonical = json.dumps(ask.identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _answer(name: str, chunks: list[bytes], *, stream: bool, side: bool = False) -> Answer:
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    return Answer(200, (("content-type", kind), ("request-id", f"req_{name}")), _each(chunks), side=side)


async def _each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
