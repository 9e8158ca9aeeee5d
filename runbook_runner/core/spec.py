"""Core: RunSpec, everything a run needs and nothing else. Serialisable, with a digest that other machines agree on."""

import hashlib
import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runbook_runner.core import settings
from runbook_runner.core.criteria import Criteria
from runbook_runner.core.declared import McpServer, RequiredOutput, Secret
from runbook_runner.core.errors import InputError
from runbook_runner.core.network.addresses import parse_rule

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_MEMORY_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
Policy = Literal["full", "allowlist", "model-only", "none"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


_LONGEST_S, _MOST_BYTES = 366 * 86_400, 1 << 50


class Limits(Part):
    timeout_s: float = Field(settings.DEFAULT_TIMEOUT_S, gt=0, le=_LONGEST_S)
    """Wall time of the agent, in seconds."""
    idle_s: float = Field(settings.DEFAULT_IDLE_S, gt=0, le=_LONGEST_S)
    """Seconds without any output or model call after which the agent counts as stuck."""
    cpus: float = Field(settings.DEFAULT_CPUS, ge=0.01, le=10_000)
    memory_bytes: int = Field(settings.DEFAULT_MEMORY_BYTES, ge=64 << 20, le=_MOST_BYTES)
    pids: int = Field(settings.DEFAULT_PIDS, ge=16, le=1 << 22)
    open_files: int = Field(settings.DEFAULT_OPEN_FILES, ge=64)
    """Of each process."""
    disk_bytes: int = Field(settings.DEFAULT_DISK_BYTES, ge=1 << 20, le=_MOST_BYTES)
    """Written in the sandbox."""
    results_bytes: int = Field(settings.DEFAULT_RESULTS_BYTES, gt=0)
    results_files: int = Field(settings.DEFAULT_RESULTS_FILES, gt=0)
    max_cost_usd: float | None = Field(None, gt=0, allow_inf_nan=False)
    """The model's price; `None`, as for the two below: no limit."""
    max_tokens: int | None = Field(None, gt=0)
    """The model's tokens, input and output, cached input included."""
    max_calls: int | None = Field(None, gt=0)
    """Model calls."""


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
    parameters: dict[str, Any] = {}
    inputs: tuple[InputFile, ...] = ()
    secrets: tuple[Secret, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()
    """What the agent may use beside its own tools."""
    outputs: tuple[RequiredOutput, ...] = ()
    primary_outputs: tuple[str, ...] = ()
    evaluation: str | None = None
    criteria: Criteria = Criteria()
    """How the run is judged. Read from the mission, so not part of the digest."""
    limits: Limits = Limits()
    network: Network = Network()
    labels: dict[str, str] = {}
    schema_version: Literal[1] = 1

    def digest(self) -> str:
        """`sha256:…` over the canonical JSON: the order of parameters, inputs, secrets and labels and the paths of
        this machine do not matter."""
        body = self.model_dump(mode="json", exclude={"near", "criteria"})
        for item in body["inputs"]:
            del item["source"]
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
