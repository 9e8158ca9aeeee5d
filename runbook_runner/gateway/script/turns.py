"""Gateway: the turns of a model script, as its file has them."""

from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, field_validator, model_validator

from runbook_runner.core.events import Stop, Usage
from runbook_runner.core.patterns import check_pattern

MAX_TIMEOUT_S: Final = 600
"""The longest that Claude Code and Hermes accept."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ScriptedTool(Part):
    name: StrictStr = Field(min_length=1)
    input: dict[str, Any] = {}


class ScriptedUsage(Part):
    """Tokens of one turn; what is not given is zero."""

    input: int = Field(0, ge=0)
    output: int = Field(0, ge=0)
    """Reasoning included."""
    cache_read: int = Field(0, ge=0)
    cache_write: int = Field(0, ge=0)
    reasoning: int = Field(0, ge=0)
    cost: float = Field(0.0, ge=0)
    """USD. A script costs nothing; this pretends that it does, to try a budget."""


class Turn(Part):
    """One answer of the scripted model: text, tool calls, both, or a failure."""

    think: StrictStr | None = None
    """Reasoning; it comes first."""
    say: StrictStr | None = None
    """Text; it comes before the tool calls."""
    shell: StrictStr | tuple[StrictStr, ...] = ()
    """Commands for the shell tool that the agent offers; several are called in one turn. `/app/...` means the place
    that its sandbox has for it, here and in other tools."""
    timeout: float | None = Field(None, gt=0, le=MAX_TIMEOUT_S)
    """Seconds those commands may take, when the agent's tool has a time-out. Default: the tool's own, which is two
    minutes with Claude Code and opencode, three with Hermes."""
    tool: ScriptedTool | None = None
    """Any other tool, by its name."""
    tools: tuple[ScriptedTool, ...] = ()
    """Several other tools in one turn."""
    usage: ScriptedUsage = ScriptedUsage()
    error: StrictInt | Literal["drop"] | None = None
    """An HTTP status to fail with, or `drop`: the connection breaks in the middle of the answer. The agent's next
    attempt gets the next turn."""
    message: StrictStr | None = None
    """The message of an error with a status."""
    stop: Stop | None = None
    """Why the answer is not complete: `length` (cut off) or `refusal`."""
    retry_after: float | None = Field(None, ge=0)
    """Seconds, for the `Retry-After` of an error."""
    delay: float = Field(0.0, ge=0)
    """Seconds to wait before the answer."""
    expect: StrictStr | None = None
    """A regular expression (of RE2) that must be found in what the request adds to the conversation; `^` and `$` are
    ends of lines."""

    @field_validator("error")
    @classmethod
    def _is_an_error(cls, error: int | str | None) -> int | str | None:
        if isinstance(error, int) and not 400 <= error <= 599:
            raise ValueError("An error is an HTTP status from 400 to 599, or drop.")
        return error

    @field_validator("expect")
    @classmethod
    def _is_a_pattern(cls, expect: str | None) -> str | None:
        return None if expect is None else check_pattern(f"(?m){expect}").removeprefix("(?m)")

    @model_validator(mode="after")
    def _fits_together(self) -> "Turn":
        answers = self.think is not None or self.say is not None or self.needs_tool
        if self.error is None and not answers:
            raise ValueError("A turn needs at least one of say, shell, tool, tools, think and error.")
        if self.error not in (None, "drop") and answers:
            raise ValueError("A turn that fails with a status says nothing else.")
        if self.tool is not None and self.tools:
            raise ValueError("A turn has tool or tools, not both.")
        if self.retry_after is not None and not isinstance(self.error, int):
            raise ValueError("retry_after needs an error with a status.")
        if self.message is not None and not isinstance(self.error, int):
            raise ValueError("message needs an error with a status.")
        if self.timeout is not None and not self.commands:
            raise ValueError("timeout needs a shell command.")
        if self.stop is not None and self.error is not None:
            raise ValueError("A turn that fails has no stop.")
        return self

    @property
    def commands(self) -> tuple[str, ...]:
        return (self.shell,) if isinstance(self.shell, str) else self.shell

    @property
    def other_tools(self) -> tuple[ScriptedTool, ...]:
        return (self.tool,) if self.tool is not None else self.tools

    @property
    def needs_tool(self) -> bool:
        return bool(self.commands or self.other_tools)

    def placed(self, localise: Callable[[str], str]) -> "Turn":
        """The turn in a sandbox whose paths the function puts in the place of `/app/...`."""
        tools = tuple(ScriptedTool(name=tool.name, input=_each(localise, tool.input)) for tool in self.other_tools)
        shell = tuple(map(localise, self.commands))
        return self.model_copy(update={"shell": shell, "tool": None, "tools": tools})

    def tokens(self) -> Usage:
        return Usage(
            prompt_tokens=self.usage.input,
            completion_tokens=self.usage.output,
            cache_read_tokens=self.usage.cache_read,
            cache_write_tokens=self.usage.cache_write,
            reasoning_tokens=self.usage.reasoning,
            cost_usd=self.usage.cost,
            api_calls=1,
        )


def _each(change: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _each(change, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(change, item) for item in value]
    return change(value) if isinstance(value, str) else value
