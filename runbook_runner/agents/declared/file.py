"""Agents: the file `.runbook/agents/NAME.toml`, by which users declare an agent: what each key means, and the errors
of a file with their lines.

Values of `argv`, `env` and `files` may hold `{model}`, `{prompt}`, `{prompt_file}`, `{gateway_url}`, `{token}`, `{app}`
(where `/app` is), `{home}` (a private folder of the agent below it) and `{mcp_servers}` (a JSON object, name →
`{command, args, env}` or `{url, headers}`). Any other brace stays as it is. Every user of a machine can read a command
line, and the agent its environment: `{token}` is not for `argv`, `{mcp_servers}` for `files` only.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from runbook_runner.agents.failures import KINDS
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import read_found, text_of
from runbook_runner.core.formats.json_toml import read_toml
from runbook_runner.core.invalid import UNKNOWN_KEY, Problem, problem_of
from runbook_runner.core.patterns import check_pattern
from runbook_runner.core.text import did_you_mean

MAX_BYTES = 1_000_000
MAX_RULES = 200
"""Each costs time for every line that the agent prints."""
_LONGEST_NAME = 200
"""Bytes of a file's or folder's name; a file system takes 255, and what is collected gets an ending."""
_LONGEST_PATH = 1000
FieldPath = Annotated[str, Field(min_length=1, max_length=500)]
"""Dotted path of a field in a record; a number picks an item of a list: `message.content.0.text`."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Rule(Part):
    """What one kind of record means. Every rule that fits a record is applied, in the file's order."""

    when: Annotated[dict[FieldPath, str | int | bool], Field(max_length=20)] | str
    """Which records it fits: the value at `events.kind`, or a table of field path → value that must all be equal."""
    final: bool = False
    """The agent has nothing more to do after this record."""


class MessageRule(Rule):
    is_: Literal["message"] = Field(alias="is")
    text: FieldPath
    role: Literal["assistant", "user", "system"] = "assistant"


class ThinkingRule(Rule):
    is_: Literal["thinking"] = Field(alias="is")
    text: FieldPath


class ToolCallRule(Rule):
    is_: Literal["tool_call"] = Field(alias="is")
    id: FieldPath
    name: FieldPath
    input: FieldPath | None = None
    """An object, or JSON text that holds one."""


class ToolResultRule(Rule):
    is_: Literal["tool_result"] = Field(alias="is")
    id: FieldPath
    output: FieldPath
    is_error: FieldPath | None = None
    exit_code: FieldPath | None = None


class UsageRule(Rule):
    is_: Literal["usage"] = Field(alias="is")
    prompt: FieldPath | None = None
    """Input tokens that were neither read from nor written to a cache."""
    completion: FieldPath | None = None
    cache_read: FieldPath | None = None
    cache_write: FieldPath | None = None
    sum: bool = False
    """The record counts one step, which is added to the steps before; else it counts the total."""


class ErrorRule(Rule):
    is_: Literal["error"] = Field(alias="is")
    text: FieldPath
    status: FieldPath | None = None
    """An HTTP status."""


AnyRule = Annotated[
    MessageRule | ThinkingRule | ToolCallRule | ToolResultRule | UsageRule | ErrorRule, Field(discriminator="is_")
]


class Events(Part):
    format: Literal["text", "jsonl"] = "text"
    """What the agent prints: plain text, each paragraph a message, or one JSON object a line."""
    kind: FieldPath = "type"
    """Where a record names its kind."""
    records: tuple[AnyRule, ...] = Field(default=(), max_length=MAX_RULES)


RegularExpression = Annotated[str, AfterValidator(check_pattern)]


class ErrorPattern(Part):
    pattern: RegularExpression
    """Searched, in any case, in the error that the agent reports and in the end of its stderr."""
    kind: str
    """The kind of failure that it shows."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"known kinds are {', '.join(KINDS)}")
        return kind


class Declaration(Part):
    """The whole file."""

    argv: tuple[str, ...] = Field(min_length=1)
    """The command; the first word is looked for on PATH."""
    prompt: Literal["stdin", "arg", "file"] = "stdin"
    """How it gets its prompt: on stdin, in place of `{prompt}` (or as the last argument), or in `{prompt_file}`."""
    version: str | None = Field(default=None, pattern=r"^[\w.+-]{1,64}$")
    install: tuple[str, ...] = ()
    """Shell commands that add it to the image, each one line, run as root."""
    install_hint: str = ""
    """The command that installs it on a host."""
    dialect: Literal["anthropic", "openai-responses", "openai-chat", "gemini"] | None = None
    """The model API it speaks; an agent without one gets no model."""
    default_model: str | None = None
    """For runs that name no model."""
    models: RegularExpression = ""
    """A model whose whole name it matches means this agent, when the runbook names no agent."""
    providers: tuple[str, ...] = ()
    """The model providers that it can use, its own first; without them the run or its model names one, or it gets
    the default."""
    env: dict[str, str] = {}
    files: dict[str, str] = {}
    """Path below `{home}` → content."""
    sessions: str | None = None
    """Folder below `{home}` with its own session files, collected after the run."""
    session_db: str | None = None
    """SQLite database below `{home}` with its sessions; its rows are collected as text."""
    events: Events = Events()
    errors: tuple[ErrorPattern, ...] = Field(default=(), max_length=MAX_RULES)

    @field_validator("argv", "env", "files", "sessions", "session_db")
    @classmethod
    def _without_nul(cls, texts: Any) -> Any:
        pairs = texts.items() if isinstance(texts, dict) else [(text,) for text in texts or ()]
        if any("\0" in text for pair in pairs for text in pair):
            raise ValueError("no program and no file takes a NUL character")
        return texts

    @field_validator("argv", "env")
    @classmethod
    def _without_secrets(cls, texts: Any, info: ValidationInfo) -> Any:
        for place in ("{mcp_servers}", "{token}") if info.field_name == "argv" else ("{mcp_servers}",):
            if any(place in text for text in (texts.values() if isinstance(texts, dict) else texts)):
                raise ValueError(f"{place} may hold a secret, which would be seen here; write it to one of its files")
        return texts

    @field_validator("install")
    @classmethod
    def _single_lines(cls, install: tuple[str, ...]) -> tuple[str, ...]:
        if any("\n" in line or not line.strip() for line in install):
            raise ValueError("each command is one line; join several with &&")
        return install

    @field_validator("files", "sessions", "session_db")
    @classmethod
    def _below_home(cls, paths: Any) -> Any:
        for path in paths or () if isinstance(paths, dict) else [paths] if paths else ():
            if path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path!r} is not below the agent's home; write it without a leading /")
            if len(path.encode()) > _LONGEST_PATH or any(
                len(part.encode()) > _LONGEST_NAME for part in path.split("/")
            ):
                raise ValueError(f"{path[:20]!r}… is too long: {_LONGEST_NAME} bytes a name, {_LONGEST_PATH} in all")
        return paths

    @model_validator(mode="after")
    def _gets_the_prompt(self) -> "Declaration":
        texts = [*self.argv, *self.env.values(), *self.files.values()]
        if self.prompt == "file" and not any("{prompt_file}" in text for text in texts):
            raise ValueError('prompt = "file" needs {prompt_file} in argv, env or files')
        return self


def read_declaration(path: Path) -> str:
    """Raises InputError."""
    return text_of(read_found(path, "agent's file", MAX_BYTES), str(path))


def parse_declaration(text: str, path: Path) -> Declaration:
    """Raises InputError with `where` = `FILE` or `FILE:LINE`."""
    try:
        return Declaration.model_validate(read_toml(text, str(path)))
    except ValidationError as error:
        raise _explain(path, text, problem_of(error)) from None


def _explain(path: Path, text: str, problem: Problem) -> InputError:
    place = tuple(_place(problem.place))
    where = f"{path}:{_line(text, place)}"
    name = str(place[-1]) if place else ""
    if problem.kind == UNKNOWN_KEY:
        known = sorted(set(_keys(Declaration)))
        hint = did_you_mean(name, known) or f"Known keys: {', '.join(Declaration.model_fields)}."
        return InputError(f"Unknown key {name!r}.", where=where, hint=hint)
    return InputError(str(problem._replace(place=place)), where=where)


def _place(loc: tuple[int | str, ...]) -> Iterator[int | str]:
    """The keys that lead to the problem, without the kind of rule, which pydantic puts among them."""
    for before, part in zip((None, *loc), loc, strict=False):
        if not (isinstance(before, int) and "records" in loc):
            yield part


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for part in (model, Events, ErrorPattern, MessageRule, ToolCallRule, ToolResultRule, UsageRule, ErrorRule):
        for name, field in part.model_fields.items():
            yield field.alias or name


def _line(text: str, place: tuple[int | str, ...]) -> int:
    """The 1-based line where the key probably is: TOML's reader keeps no positions."""
    lines = text.splitlines()
    start, table = 0, ""
    for part in place:
        if isinstance(part, int):
            headers = [number for number, line in enumerate(lines) if line.strip() == f"[[{table}]]"]
            start = headers[part] if part < len(headers) else start
            continue
        table = f"{table}.{part}" if table else part
        key = re.compile(rf"""\s*(\[+\s*)?([\w."'-]+\.)?["']?{re.escape(part)}["']?\s*[\]=]""")
        start = next((number for number in range(start, len(lines)) if key.match(lines[number])), start)
    return start + 1
