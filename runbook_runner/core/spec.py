"""Core: RunSpec, everything a run needs and nothing else. Serialisable, with a digest that other machines agree on."""

import hashlib
import json
import re
from dataclasses import field, make_dataclass
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, field_validator
from pydantic_core import core_schema

from runbook_runner.core import settings
from runbook_runner.core.criteria import Criteria
from runbook_runner.core.declared import Block, McpServer, RequiredOutput, Secret
from runbook_runner.core.errors import InputError
from runbook_runner.core.network.addresses import parse_rule

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_MEMORY_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
Policy = Literal["full", "allowlist", "model-only", "none"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AsObject:
    """An annotation for pydantic: a named tuple of `core.declared` is an object in JSON, as a dataclass would be; it
    refuses keys that it does not have."""

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        defaults, config = kind._field_defaults, {"__doc__": kind.__doc__, "__pydantic_config__": {"extra": "forbid"}}
        fields = [
            (name, of, _default(defaults[name])) if name in defaults else (name, of)
            for name, of in get_type_hints(kind).items()
        ]
        twin = make_dataclass(kind.__name__, fields, namespace=config, frozen=True)
        schema = handler.generate_schema(twin)
        read = core_schema.no_info_before_validator_function(
            lambda value: value._asdict() if isinstance(value, kind) else value, schema
        )
        write = core_schema.plain_serializer_function_ser_schema(
            lambda value: twin(**value._asdict()), return_schema=schema
        )
        return core_schema.no_info_after_validator_function(
            lambda value: kind(**vars(value)), read, serialization=write
        )


def _default(value: Any) -> Any:
    return field(default_factory=dict) if value == {} else field(default=value)


class InputFile(Part):
    """One file given to the agent under `/app/assets/`."""

    name: str
    """Path below `/app/assets/`, POSIX; usually a basename."""
    sha256: str
    size: int
    """Bytes."""
    source: str
    """Where the file is on this machine. Not part of the digest."""


class Network(Part):
    """What a sandbox may reach."""

    policy: Policy = "full"
    """`full`: everything; `allowlist`: the hosts below, through a proxy, and the model; `model-only`: the model."""
    allow_hosts: tuple[str, ...] = ()
    """`example.com`, `*.example.com`, an address or a network; each may end in `:PORT`. For `allowlist` only."""

    @field_validator("allow_hosts")
    @classmethod
    def _rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_rule(text)
        return tuple(sorted(set(value)))


_MOST_BYTES = 1 << 50
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]
Usd = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class Limits(Part):
    timeout_s: Seconds = settings.DEFAULT_TIMEOUT_S
    """Wall time of the agent, in seconds."""
    idle_s: Seconds = settings.DEFAULT_IDLE_S
    """Seconds without any output or model call after which the agent counts as stuck."""
    cpus: float = Field(settings.DEFAULT_CPUS, ge=0.01, le=10_000)
    memory_bytes: int = Field(settings.DEFAULT_MEMORY_BYTES, ge=64 << 20, le=_MOST_BYTES)
    pids: int = Field(settings.DEFAULT_PIDS, ge=16, le=1 << 22)
    open_files: int = Field(settings.DEFAULT_OPEN_FILES, ge=64)
    """Of each process."""
    disk_bytes: int = Field(settings.DEFAULT_DISK_BYTES, ge=1 << 20, le=_MOST_BYTES)
    """Written in the sandbox."""
    results_bytes: int = Field(settings.DEFAULT_RESULTS_BYTES, ge=1 << 20, le=_MOST_BYTES)
    results_files: int = Field(settings.DEFAULT_RESULTS_FILES, ge=1, le=1 << 20)
    max_cost_usd: Usd | None = None
    """The model's price; `None`, as for the two below: no limit."""
    max_tokens: Count | None = None
    """The model's tokens, input and output, cached input included."""
    max_calls: Count | None = None
    """Model calls."""


class JudgeChoice(Part):
    """Who judges the results."""

    model: str
    provider: str | None = None
    """`None`: a script answers."""
    samples: int = Field(1, ge=1, le=settings.MAX_JUDGE_SAMPLES)
    """How often it is asked."""


class RunSpec(Part):
    """A resolved run: `Runbook` + parameters + flags, ready for any machine that has the files and the secrets."""

    title: str
    collection: str
    task: str
    agent: str
    near: tuple[str, ...] = ()
    """Folders of this machine from which upwards agents and snapshots of the user are looked for. Not part of the
    digest."""
    model: str | None = None
    provider: str | None = None
    snapshot: str | None = None
    """Name of a sandbox preset; exactly one of snapshot and image is set."""
    image: str | None = None
    apt_packages: tuple[str, ...] = ()
    """Debian packages to install on top; Docker only."""
    mission: str
    """The rendered runbook, in terms of `/app/...`."""
    note: str = ""
    """What the agent is told behind it: of earlier attempts. An agent has written parts of that, so nobody who judges
    the run is shown it."""
    blocks: tuple[Annotated[Block, AsObject()], ...] = ()
    """What an agent without a model runs: the code blocks of the steps, with their values. Not part of the digest, as
    they follow from the mission and the parameters."""
    parameters: dict[str, Any] = {}
    inputs: tuple[InputFile, ...] = ()
    secrets: tuple[Annotated[Secret, AsObject()], ...] = ()
    mcp_servers: tuple[Annotated[McpServer, AsObject()], ...] = ()
    """What the agent may use beside its own tools."""
    outputs: tuple[Annotated[RequiredOutput, AsObject()], ...] = ()
    primary_outputs: tuple[str, ...] = ()
    evaluation: str | None = None
    criteria: Criteria = Criteria()
    """How the run is judged. Not part of the digest, for the same reason."""
    judge: JudgeChoice | None = None
    """`None`: no model judges the results. Not part of the digest: it changes nothing of what the agent does."""
    limits: Limits = Limits()
    network: Network = Network()
    labels: dict[str, str] = {}
    schema_version: Literal[1] = 1

    @property
    def told(self) -> str:
        """To the agent."""
        return self.mission + self.note

    def digest(self) -> str:
        """`sha256:…` over the canonical JSON: the order of parameters, inputs, secrets and labels and the paths of
        this machine do not matter."""
        body = self.model_dump(mode="json", exclude={"near", "blocks", "criteria", "judge"})
        for item in body["inputs"]:
            del item["source"]
        if not self.note:
            del body["note"]  # specs of before have none
        for unordered in ("inputs", "secrets"):
            body[unordered] = sorted(body[unordered], key=lambda item: str(item["name"]))
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def parse_memory(text: str) -> int:
    """`8G`, `512m`, `4GiB`, `1073741824` → bytes. Raises InputError."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise InputError(f"{text!r} is not an amount of memory.", hint="Write it like 512M or 8G.")
    return int(min(float(match[1]), 1e15) * _MEMORY_UNIT[match[2].upper()])
