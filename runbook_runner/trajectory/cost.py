"""Trajectory: what runs have cost, read from their `trajectory.json` alone. Quick: no models, one small dict a run."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKENS = ("prompt_tokens", "cache_read_tokens", "cache_write_tokens", "completion_tokens")


@dataclass(frozen=True)
class Run:
    """What one run really asked of a provider; answers from scripts and recordings cost nothing."""

    model: str
    task: str
    """`collection/task`."""
    day: str
    """UTC, `2026-11-22`."""
    calls: int
    tokens: dict[str, int]
    """By the names in TOKENS."""
    cost_usd: float | None
    """`None`: not known."""


@dataclass
class Total:
    """Of a group of runs."""

    runs: int
    calls: int
    tokens: dict[str, int]
    known_usd: float
    unknown_runs: int
    """Runs whose price is not known; it is not in `known_usd`."""

    @property
    def cost_usd(self) -> float | None:
        """`None` when a part of it is not known."""
        return None if self.unknown_runs else round(self.known_usd, 6)


def runs(home: Path, since: str | None, broken: list[Path]) -> Iterator[Run]:
    """Every run below `home` that was created at or after `since`, an ISO timestamp. Files that can't be read are
    added to `broken`."""
    for path in (home / "trajectories").glob("*/*/*/trajectory.json"):
        try:
            body = json.loads(path.read_bytes())
            if since is None or str(body["created"]) >= since:
                yield _run(body)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            broken.append(path)


def _run(body: dict[str, Any]) -> Run:
    outputs = body["steps"]["run"]["outputs"]
    spent = body["attributes"]["params"].get("spent") or outputs["usage"]
    calls, cost = int(spent["api_calls"]), spent["cost_usd"]
    return Run(
        model=str(body["init_params"].get("model") or "no model"),
        task=str(body["name"]),
        day=str(body["created"])[:10],
        calls=calls,
        tokens={name: int(spent.get(name, 0)) for name in TOKENS},
        cost_usd=float(cost) if cost is not None else None if calls else 0.0,
    )


def totals(found: Iterable[Run], by: str) -> dict[str, Total]:
    """Group → total, groups in order. by: `model`, `task` or `day`."""
    groups: dict[str, Total] = {}
    for run in found:
        name = {"model": run.model, "task": run.task, "day": run.day}[by]
        total = groups.setdefault(name, Total(0, 0, dict.fromkeys(TOKENS, 0), 0.0, 0))
        total.runs += 1
        total.calls += run.calls
        total.known_usd += run.cost_usd or 0.0
        total.unknown_runs += run.cost_usd is None
        for kind in TOKENS:
            total.tokens[kind] += run.tokens[kind]
    return dict(sorted(groups.items()))


def summed(groups: Iterable[Total]) -> Total:
    whole = Total(0, 0, dict.fromkeys(TOKENS, 0), 0.0, 0)
    for group in groups:
        whole.runs += group.runs
        whole.calls += group.calls
        whole.known_usd += group.known_usd
        whole.unknown_runs += group.unknown_runs
        for kind in TOKENS:
            whole.tokens[kind] += group.tokens[kind]
    return whole
