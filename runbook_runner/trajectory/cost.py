"""Trajectory: the cost of runs, read from their `trajectory.json` alone. Without pydantic, which is slow."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from glob import iglob
from pathlib import Path
from typing import Any

from runbook_runner.core.formats.numbers import amount, count
from runbook_runner.trajectory.overlay import read_summary

TOKENS = ("prompt_tokens", "cache_read_tokens", "cache_write_tokens", "completion_tokens")


@dataclass(frozen=True)
class Run:
    """The calls of one run that a provider answered; answers from scripts and cassettes cost nothing."""

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
    free: bool
    """All its answers came from a script or a cassette."""
    is_judge: bool = False
    """They are the calls of its judge, which the run's own do not have in them."""


@dataclass
class Total:
    """Of a group of runs."""

    runs: int = 0
    calls: int = 0
    tokens: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(TOKENS, 0)))
    known_usd: float = 0.0
    unknown_runs: int = 0
    """Runs whose price is not known; it is not in `known_usd`."""
    free_runs: int = 0

    @property
    def cost_usd(self) -> float | None:
        """`None` when a part of it is not known."""
        return None if self.unknown_runs else round(self.known_usd, 6)

    def add(self, other: "Total") -> None:
        self.runs += other.runs
        self.calls += other.calls
        self.tokens.update(other.tokens)
        self.known_usd += other.known_usd
        self.unknown_runs += other.unknown_runs
        self.free_runs += other.free_runs


def runs(home: Path, since: str | None, broken: list[Path]) -> Iterator[Run]:
    """Every run below `home` that was created at or after `since`, an ISO timestamp. Files that can't be read are
    added to `broken`."""
    top = home / "trajectories"
    for name in iglob("*/*/*/trajectory.json", root_dir=top):  # noqa: PTH207 - Path.glob raises for a closed folder
        path = top / name
        try:
            body = read_summary(path)
            if since is None or str(body["created"]) >= since:
                yield from _runs(body, _judged(path.parent))
        except (OSError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            broken.append(path)


def _judged(folder: Path) -> Iterator[dict[str, Any]]:
    """What `runbook judge` has found since."""
    for name in iglob("judge/*/judged.json", root_dir=folder):  # noqa: PTH207
        yield read_summary(Path(folder, name))


def _runs(body: dict[str, Any], judged: Iterable[dict[str, Any]]) -> Iterator[Run]:
    own = body["attributes"]["params"].get("judge")
    yield _run(body)
    # One that only a script or a recording has answered is nothing that was spent.
    yield from (run for judge in (*([own] if own else []), *judged) if (run := _judge(body, judge)).calls)


def _run(body: dict[str, Any]) -> Run:
    outputs = body["steps"]["run"]["outputs"]
    params = body["attributes"]["params"]
    spent = params.get("spent") or outputs["usage"]
    model = str(body["init_params"].get("model") or "no model")
    run = _of_calls(body, model, spent, params.get("model_calls"))
    return replace(run, cost_usd=None) if params.get("origin") and not run.calls and not run.cost_usd else run


def _judge(body: dict[str, Any], judge: dict[str, Any]) -> Run:
    run = _of_calls(body, f"{judge.get('model') or 'unknown'} (judge)", judge["spent"], judge.get("model_calls"))
    return replace(run, is_judge=True)


def _of_calls(body: dict[str, Any], model: str, spent: dict[str, Any], answered: Any) -> Run:
    """answered: who answered → how many calls; empty or `None`: a provider did."""
    calls, cost, tokens = spent["api_calls"], spent["cost_usd"], {name: spent.get(name, 0) for name in TOKENS}
    if any(count(number) != number for number in (calls, *tokens.values())) or cost not in (None, amount(cost)):
        raise ValueError("a number that this program does not write")
    return Run(
        model=model,
        task=str(body["name"]),
        day=str(body["created"])[:10],
        calls=calls,
        tokens=tokens,
        free=bool(answered) and "provider" not in answered,
        cost_usd=paid(None if cost is None else float(cost), calls),
    )


def paid(recorded: float | None, calls: int) -> float | None:
    """calls: those that a provider answered; without any, nothing was paid. `None`: not known."""
    return recorded if recorded is not None else None if calls else 0.0


def totals(found: Iterable[Run], by: str) -> dict[str, Total]:
    """Group → total, groups in order. by: `model`, `task` or `day`."""
    groups: dict[str, Total] = {}
    for run in found:
        own, unknown = int(not run.is_judge), int(run.cost_usd is None)
        one = Total(own, run.calls, Counter(run.tokens), run.cost_usd or 0.0, unknown, own * run.free)
        groups.setdefault(getattr(run, by), Total()).add(one)
    return dict(sorted(groups.items()))


def summed(groups: Iterable[Total]) -> Total:
    whole = Total()
    for group in groups:
        whole.add(group)
    return whole
