"""Trajectory: the JSON shape of the contract (§7.1–7.4), the same in a folder, over HTTP and in an export."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from runbook_runner.core.events import Status


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FileRef(Shape):
    path: str
    """Storage key."""


class ResultFile(FileRef):
    content_type: str
    extension: str
    """Without the dot."""


class UsageTotals(Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None
    """`null`: not known."""
    duration_seconds: float
    api_calls: int
    cache_read_tokens: int
    cache_write_tokens: int


class RunbookOutputs(Shape):
    success: bool
    text: str
    results_files: list[ResultFile]
    files: list[FileRef]
    """Every stored file, results first: one known client reads only this list."""
    primary_files: list[str]
    usage: UsageTotals
    validation_report: Any
    verdict: str | None
    overall_passed: bool | None
    missing_outputs: list[str]
    exit_code: int | None


class Step(Shape):
    inputs: dict[str, Any]
    outputs: RunbookOutputs | dict[str, Any]
    activity: str
    key: str
    depends_on: list[str]
    created: str
    ended: str | None
    duration_seconds: float | None
    author: str
    origin: dict[str, Any]
    config: dict[str, Any]
    status: Status
    error: str | None


class Label(Shape):
    key: str
    value: str
    created: str
    author: str


class Attributes(Shape):
    asset_type: str
    asset_filename: str
    created: str
    params: dict[str, Any]


class TrajectoryEvent(Shape):
    ts: str
    level: str
    message: str
    step: str | None


class Trajectory(Shape):
    name: str
    trajectory_id: str
    storage_path: str
    status: Status
    attributes: Attributes
    created: str
    updated: str
    author: str
    metadata_uri: str
    steps: dict[str, Step]
    labels: list[Label]
    total_steps: list[str]
    completed_steps: list[str]
    init_params: dict[str, Any]
    step_configs: dict[str, dict[str, Any]]
    org_id: str | None
    error: str | None
    triggered_by_routine_id: int | None
    webhook_url: str | None
    events: list[TrajectoryEvent]
