"""Core: the event types: everything that happens in a run is one of these, and every reader is only a reader.

An event goes to `events.jsonl` as one line `{"seq": n, "ts": "…Z", "type": "…", …fields}`. Readers meet lines of newer
versions and torn last lines: `parse_line` returns `None` for a torn line and `Unknown` for an unknown type.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from runbook_runner.core.clock import BEGINNING, moment
from runbook_runner.core.formats.json_toml import MAX_DEPTH, has_more_values, plain_json
from runbook_runner.core.formats.numbers import amount, count, seconds
from runbook_runner.core.text import encodable

Status = Literal["pending", "running", "completed", "failed", "cancelled", "archived"]
Level = Literal["debug", "info", "warning", "error"]
Source = Literal["provider", "script", "replay"]
"""Who answered a model call."""
Asker = Literal["agent", "judge"]
"""Who made a model call: the run's agent, or the engine, to have the results judged."""
Stop = Literal["length", "refusal"]
"""Why a model stopped early: it reached its token limit, or it or its provider's filter refused."""

Json = Annotated[Any, BeforeValidator(plain_json)]
"""A value from outside, changed so far that the event can be written."""
JsonObject = Annotated[dict[str, Any], BeforeValidator(plain_json)]
Count = Annotated[int, BeforeValidator(count)]
"""A number from outside; a sum of them is bounded, too."""
Seconds = Annotated[float, BeforeValidator(seconds)]

Fixed = Annotated[str, "fixed"]
"""A word of this program or of the run's request: redaction leaves it alone, as it does literals and numbers."""
Name = Annotated[str, "name"]
"""A name or an id that comes from elsewhere: only values that are no ordinary words are removed from it."""
Names = Annotated[dict[str, Any], "name"]

# Each model is built when it is first used: most runs use half of the types.
FROZEN = ConfigDict(frozen=True, defer_build=True)


class Usage(BaseModel):
    """Tokens by kind and money, of one call or summed (contract §7.4)."""

    model_config = FROZEN

    prompt_tokens: Count = 0
    """Input tokens that were neither read from nor written to a cache."""
    completion_tokens: Count = 0
    """With the reasoning."""
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0
    """The part of the completion that is reasoning, where the provider reports it."""
    cost_usd: Annotated[float | None, BeforeValidator(amount)] = None
    """`None`: not known. Never a guess: a sum with an unknown part is unknown."""
    api_calls: Count = 0
    estimated: bool = False
    """A part of it is counted by the gateway: of a call that broke off, whose provider did not come to tell it."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage.sum((self, other))

    @classmethod
    def sum(cls, usages: Iterable["Usage"]) -> "Usage":
        known = [*usages]
        return cls(
            prompt_tokens=sum([usage.prompt_tokens for usage in known]),
            completion_tokens=sum([usage.completion_tokens for usage in known]),
            cache_read_tokens=sum([usage.cache_read_tokens for usage in known]),
            cache_write_tokens=sum([usage.cache_write_tokens for usage in known]),
            reasoning_tokens=sum([usage.reasoning_tokens for usage in known]),
            cost_usd=_sum_of_costs(known),
            api_calls=sum([usage.api_calls for usage in known]),
            estimated=any(usage.estimated for usage in known),
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def all_tokens(self) -> int:
        """Every token a provider worked on, cached ones included."""
        return self.total_tokens + self.cache_read_tokens + self.cache_write_tokens


def _sum_of_costs(usages: Iterable[Usage]) -> float | None:
    costs = [usage.cost_usd for usage in usages if usage.api_calls or usage.all_tokens or usage.cost_usd is not None]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


class UsageSum:
    """A running sum of very many: it costs a fraction of one `+` for each."""

    def __init__(self) -> None:
        self._summands: list[Usage] = []

    def add(self, usage: Usage) -> None:
        self._summands.append(usage)
        if len(self._summands) >= 256:
            self._summands = [self.total]

    @property
    def total(self) -> Usage:
        return Usage.sum(self._summands)


class Event(BaseModel):
    model_config = FROZEN


class ReplayOf(BaseModel):
    """How a run got its answers from a cassette."""

    model_config = FROZEN

    parent_trajectory_id: Fixed | None = None
    """`None`: only the cassette is known."""
    mode: Literal["replay", "fork", "incremental"]
    """incremental: up to the first request that is not the same as the recorded one."""
    on_miss: Literal["stop", "live", "nearest"]
    until: int | None = None
    """The last recorded call that was to be served: of a fork, or after an edit of the mission."""
    provisional: bool = False
    """Recorded answers, if any were given, are from before an edit of what the agent is told."""
    then: Literal["live", "script"] | None = None


class AttemptOf(BaseModel):
    """Which attempt at the same run this is, after the first."""

    model_config = FROZEN

    number: int
    parent_trajectory_id: Fixed
    """The best of the earlier ones; what failed in it is told to the agent."""


class RunStarted(Event):
    type: Literal["run.started"] = "run.started"
    trajectory_id: Fixed
    collection: Fixed
    task: Fixed
    author: Fixed
    spec_digest: Fixed
    init_params: Names
    """As the platform records them (contract §6.8): agent, model, instruction, vars, file_paths, …"""
    step_config: Names
    labels: Annotated[dict[str, str], "name"] = {}
    engine: Fixed
    """`runbook-runner/<version>`."""
    replay: ReplayOf | None = None
    attempt: AttemptOf | None = None
    origin: str | None = None
    """Where the run was recorded, of one that was imported: `ATIF-v1.7 file run.json`; `None`: here."""
    rerun_of: Fixed | None = None
    """The trajectory id of the run whose spec this one has, of a rerun."""


class PhaseStarted(Event):
    type: Literal["phase.started"] = "phase.started"
    phase: Fixed


class PhaseFinished(Event):
    type: Literal["phase.finished"] = "phase.finished"
    phase: Fixed
    seconds: Seconds
    ok: bool = True
    """False: it went through, and what it found or ran did not end well."""


REDACTION = "redaction"
"""Source of a log line about what could not be searched for secrets."""
AGENT_FAILED = "The agent did not end well"
"""So begins the evaluation's reason for what the run's own error says already."""
DOUBT = "doubt"
"""Source of a log line about what may be wrong with results that otherwise look right."""
NOTES = (DOUBT, REDACTION)
"""Sources of log lines that belong to the results: a summary repeats them."""


class Log(Event):
    """A line for people: build output, warnings, limits hit."""

    type: Literal["log"] = "log"
    level: Level = "info"
    message: str
    source: Fixed = "runner"


class SandboxStarted(Event):
    type: Literal["sandbox.started"] = "sandbox.started"
    backend: Fixed
    sandbox_id: Fixed
    image: Fixed | None = None
    image_digest: Fixed | None = None
    """The image's id in the engine."""
    image_pinned: Fixed | None = None
    """The user's own image with its digest in the registry: `NAME@sha256:…`."""
    app: Fixed
    """Where `/app` is for the processes in this sandbox."""
    limits: Annotated[dict[str, str], "fixed"] = {}
    """`cpus`, `memory`, `processes`, `open_files`, `disk` → how that limit holds here: `together` for everything in the
    sandbox, for `each` process by itself, `watched`: measured now and then, or `none`."""


class AgentStarted(Event):
    type: Literal["agent.started"] = "agent.started"
    agent: Fixed
    version: Fixed | None = None
    model: Fixed | None = None
    provider: Fixed | None = None
    model_address: str | None = None
    """Scheme, host and port to which its model calls go; `None`: a script or a recording answers, or it makes none."""
    secrets: tuple[str, ...] = ()
    """Variables of the secrets that were granted to the run, those for its MCP servers among them."""


class AgentMessage(Event):
    type: Literal["agent.message"] = "agent.message"
    text: str
    role: Literal["assistant", "user", "system"] = "assistant"
    parent_call_id: Name | None = None
    """The tool call that started the subagent; `None`: the message is the main agent's."""


class AgentThinking(Event):
    type: Literal["agent.thinking"] = "agent.thinking"
    text: str
    parent_call_id: Name | None = None


class ToolCalled(Event):
    type: Literal["tool.called"] = "tool.called"
    call_id: Name
    name: Name
    input: JsonObject = {}
    parent_call_id: Name | None = None


class ToolReturned(Event):
    type: Literal["tool.returned"] = "tool.returned"
    call_id: Name
    output: str
    is_error: bool = False
    exit_code: int | None = None
    parent_call_id: Name | None = None

    @property
    def failed(self) -> bool:
        return self.is_error or bool(self.exit_code)


class AgentNotice(Event):
    """A stream record that is none of the above: a retry, an init record, or a record of an unknown type. Kept raw."""

    type: Literal["agent.notice"] = "agent.notice"
    kind: Name
    payload: Json = None


class AgentFinished(Event):
    type: Literal["agent.finished"] = "agent.finished"
    exit_code: int | None
    """`None` when it was killed."""
    ended_by: Literal["exit", "deadline", "idle", "cancel", "lost"]
    text: str = ""
    """The agent's final message."""
    usage: Usage | None = None
    """The CLI's own final record, when it has one."""
    error: str | None = None
    error_kind: Name | None = None

    @property
    def ended_well(self) -> bool:
        return self.error is None and self.ended_by == "exit"


class AgentRetried(Event):
    """The agent failed before it had begun to work and will be started again."""

    type: Literal["agent.retried"] = "agent.retried"
    retry: int
    """1-based."""
    delay_s: Seconds
    """Seconds until the next start."""
    error: str
    """Why the previous start failed."""
    error_kind: Name


class ModelCalled(Event):
    """One request of the agent or of the judge to its model, as the gateway saw it."""

    type: Literal["model.called"] = "model.called"
    number: int
    """1-based, in order of arrival; the judge's are counted by themselves."""
    asker: Asker = "agent"
    dialect: Fixed
    model: Name
    source: Source
    status: int
    """HTTP status of the answer; 0 when the connection broke."""
    usage: Usage = Usage()
    seconds: Seconds
    error: str | None = None
    stop: Stop | None = None
    """`None`: the model ended by itself, or did not answer."""


class Difference(BaseModel):
    """One place where a request is not what was recorded."""

    model_config = FROZEN

    path: Name
    """`messages[3].content[0].text`."""
    line: int | None = None
    """1-based, in the recorded text; `None` when the value is not text."""
    origin: Literal["model", "user", "system", "tools", "tool output", "settings", "model name"]
    """The part of the request that differs."""
    before: str
    """Recorded; empty when it was not there."""
    after: str
    """Asked now; empty when it is gone."""


class ReplayDiverged(Event):
    """A request that is not exactly as it was recorded, and how it was answered."""

    type: Literal["replay.diverged"] = "replay.diverged"
    number: int = 0
    """Of the model call in this run."""
    asker: Asker = "agent"
    recorded: int | None
    """Number of the nearest call in the recording; `None` when no recorded call is similar."""
    severity: Literal["minor", "major", "miss"]
    served: Literal["recorded", "estimate", "live", "script", "nothing"]
    differences: tuple[Difference, ...] = ()
    """The gravest first; not all when there are many."""
    total: int = 0
    """How many differences there are."""


class NetworkConnection(Event):
    """A connection out of a sandbox with an allow-list, when it has ended or was refused."""

    type: Literal["network.connection"] = "network.connection"
    host: Name
    """As the sandbox asked for it."""
    port: int
    address: Name | None = None
    """The address it was connected to; `None` when it was not connected."""
    allowed: bool
    reason: str | None = None
    """Why it was refused, or why it failed."""
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: Seconds


class Artifact(Event):
    """One collected file."""

    type: Literal["artifact.collected"] = "artifact.collected"
    kind: Literal["result", "agent"]
    path: Name
    """Below the trajectory's folder, POSIX."""
    sandbox_path: Name
    key: Name
    """Storage key (contract §5.4)."""
    size: int
    sha256: Fixed
    content_type: Fixed
    primary: int | None = None
    """Position among the primary outputs, 0-based."""


class Redacted(Event):
    """A secret was removed from a file before it was stored."""

    type: Literal["redacted"] = "redacted"
    where: Name
    rule: Fixed
    count: int


class CheckFinished(Event):
    """The engine has run a check of the runbook, or its judge has scored a criterion."""

    type: Literal["check.finished"] = "check.finished"
    kind: Literal["code_check", "judge", "checklist", "script"] = "code_check"
    """As in a report, but for `script`, the verification script, which no report has."""
    id: Name
    name: str
    status: Literal["pass", "fail", "error"]
    message: str = ""
    seconds: Seconds
    exit_code: int | None = None
    """Of a command."""
    output: str = ""
    """The end of what a command has printed."""


class OutputFound(BaseModel):
    """What there is of a required output."""

    model_config = FROZEN

    path: Name
    """As the runbook names it, below the results; it may be a pattern."""
    lack: Literal["missing", "empty", "elsewhere"] | None = None
    """elsewhere: it is not in the results, so that no run can deliver it."""
    files: Count = 0
    """Files with content that it names, or that are in the folders that it names."""
    bytes: Count = 0
    """Of all of them."""


class Evaluated(Event):
    type: Literal["run.evaluated"] = "run.evaluated"
    verdict: Literal["pass", "fail"]
    success: bool
    overall_passed: bool | None = None
    missing_outputs: Annotated[tuple[str, ...], "name"] = ()
    outputs: tuple[OutputFound, ...] = ()
    """One for each required output."""
    validation_report: Json = None
    judge: Json = None
    """What the judge found (`evaluation/judge`): `model`, `samples`, `score`, `errors`, `checks`, `left_out`;
    `None`: none was asked."""
    reasons: tuple[str, ...] = ()
    """All of them."""
    claims: tuple[str, ...] = ()
    """Those of the reasons that come from the agent's own report, or that contradict it."""


class RunFinished(Event):
    type: Literal["run.finished"] = "run.finished"
    status: Status
    error: str | None = None
    error_code: Fixed | None = None
    """`RunbookError.code` of what ended the run."""
    seconds: Seconds
    is_known: bool = True
    """False: what was imported does not say how the run ended; `status` is `completed` then, and stands for nothing."""

    @property
    def known_status(self) -> str:
        """`status`, or `unknown`."""
        return self.status if self.is_known else "unknown"


class Unknown(Event):
    """An event of a type this version does not know; its fields are kept."""

    model_config = ConfigDict(extra="allow")
    type: str


Emit = Callable[[Event], None]
"""Publishes an event. Thread-safe; may raise RecordingError."""


class Report(Protocol):
    """Takes a line that says where long work is. detail: of a tool's own output, of which people see only the latest.
    May raise, to break the work off."""

    def __call__(self, line: str, *, detail: bool = False) -> None: ...


class Recorded(NamedTuple):
    """An event with its place in the run."""

    seq: int
    """1, 2, 3 … without gaps; below 2 to the power of 53."""
    ts: str
    """As `clock.iso` writes it."""
    event: Event

    def line(self) -> str:
        return json.dumps(
            {"seq": self.seq, "ts": self.ts, **self.event.model_dump(mode="json")},
            ensure_ascii=False,
            separators=(",", ":"),
        )


def event_schema() -> dict[str, Any]:
    """The JSON Schema of a line of the event log."""
    from pydantic.json_schema import models_json_schema  # only who asks for the schema pays for it

    names, schema = models_json_schema([(kind, "serialization") for kind in _types().values()], title="Event")
    place = {"seq": {"type": "integer", "exclusiveMaximum": _END_OF_SEQ}, "ts": {"type": "string"}}
    return {**schema, "type": "object", "properties": place, "required": ["seq", "ts"], "oneOf": [*names.values()]}


@cache
def _types() -> Mapping[str, type[Event]]:
    """Event types by name."""
    named = {known.model_fields["type"].default: known for known in Event.__subclasses__() if known is not Unknown}
    return {str(name): known for name, known in named.items()}


_END_OF_SEQ = 1 << 53
_LARGEST = (1 << 63) - 1
_END_OF_TIMES = "2500"
"""Nanoseconds until then fit into 64 bits."""


def parse_line(line: str) -> Recorded | None:
    """One line of `events.jsonl`, which may be a stranger's; `None` when it is torn, not an event, or has more
    than MOST_VALUES values. What it holds can be written as JSON and UTF-8 and summed, and its time is one of
    `clock.iso`; what is not one is BEGINNING."""
    if has_more_values(line):
        return None
    try:
        body = _LINE.decode(text := encodable(line))
        if "\\u" in text or text.count("{") + text.count("[") > MAX_DEPTH:
            body = plain_json(body)  # it may hold half a surrogate pair, or be nested too deeply
        seq, ts = int(body.pop("seq")), moment(body.pop("ts")) or BEGINNING
        ts = ts if BEGINNING < ts < _END_OF_TIMES else BEGINNING
        return Recorded(seq, ts, _event(body)) if seq < _END_OF_SEQ else None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _bounded(text: str) -> int:
    """Of 64 bits, as databases and other programs take it."""
    return int(text) if len(text) < 19 else -_LARGEST if text.startswith("-") else _LARGEST


def _finite(text: str) -> float | None:
    """`None` for what a float can't hold, as `plain_json` has it."""
    return number if math.isfinite(number := float(text)) else None


_LINE = json.JSONDecoder(parse_int=_bounded, parse_float=_finite, parse_constant=lambda _: None)


def _event(body: dict[str, Any]) -> Event:
    try:
        return _types()[body["type"]].model_validate(body)
    except (KeyError, ValidationError):
        return Unknown.model_validate(body)
