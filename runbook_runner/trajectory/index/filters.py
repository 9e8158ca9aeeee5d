"""Trajectory, index: which runs are asked for, as SQL; and their sums (contract §7.9)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.ages import moment_of
from runbook_runner.core.text import did_you_mean
from runbook_runner.trajectory.index.index import Index, outcome_in
from runbook_runner.trajectory.outcome import DAMAGED, FAILED, OUTCOMES, STATUSES

VERDICTS: Final = ("pass", "fail", "none")
SORTS: Final = {
    "created": "dated",
    "updated": "updated",
    "status": "status",
    "verdict": "verdict",
    "score": "score",
    "task": "collection || '/' || task",
    "seconds": "seconds",
    "tokens": "tokens",
    "cost": "cost_usd",
}
"""What lists are sorted by → the column."""
_SCORE = re.compile(r"(>=|<=|=|>|<)?\s*(\d{1,6}(?:\.\d{1,6})?)")


@dataclass(frozen=True)
class Filters:
    outcomes: tuple[str, ...] = ()
    """Of OUTCOMES; `failed`: all of FAILED."""
    statuses: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    score: str | None = None
    """`4`, `>=4`."""
    tasks: tuple[str, ...] = ()
    """`task` or `collection/task`, with `*` for any characters."""
    labels: tuple[str, ...] = ()
    """`key=value`, or `key` for any value; all of them."""
    without: tuple[str, ...] = ()
    """The same; none of them."""
    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    since: str | None = None
    """A date, a time, or an age such as 7d."""
    before: str | None = None
    own: bool = False
    """Only what this user's machine has made or brought there, see `own_runs`."""

    def sql(self) -> tuple[str, list[Any]]:
        """Returns a condition and the values for its marks. Raises InputError."""
        parts, values = ["1"], list[Any]()

        def add(part: str, *given: Any) -> None:
            parts.append(part)
            values.extend(given)

        if self.outcomes:
            meant = [one for word in self.outcomes for one in (FAILED if word == "failed" else (word.lower(),))]
            if "dead" in meant:
                hint = "`--outcome running` lists them, and those that go on."
                raise InputError("Which runs are dead is seen only when they are listed.", where="--outcome", hint=hint)
            known = _known(meant, (*OUTCOMES, DAMAGED), "outcome")
            add(outcome_in(len(known)), *known)
        if self.statuses:
            known = _known(self.statuses, STATUSES, "status")
            add(f"status IN ({_marks(known)})", *known)
        if self.verdicts:
            known = [value for value in _known(self.verdicts, VERDICTS, "verdict") if value != "none"]
            none = "verdict IS NULL OR " if "none" in self.verdicts else ""
            add(f"({none}verdict IN ({_marks(known)}))", *known)
        if self.score:
            sign, number = _score(self.score)
            add(f"score {sign} ?", number)
        if self.tasks:
            terms = []
            for name in self.tasks:
                collection, slash, task = name.rpartition("/")
                both = [("collection", collection)] * bool(slash) + [("task", task)]
                terms.append(" AND ".join(_like(*one) for one in both))
                values.extend(_pattern(text) for _, text in both)
            add(f"({' OR '.join(terms)})")
        for labels, option, is_in in ((self.labels, "--label", "IN"), (self.without, "--without-label", "NOT IN")):
            for label in labels:
                key, sign, value = label.partition("=")
                if not key.strip():
                    raise InputError(f"{label!r} is not a label.", where=option, hint="Write it like quality=high.")
                condition = "key = ? AND value = ?" if sign else "key = ?"
                add(f"folder {is_in} (SELECT folder FROM labels WHERE {condition})", key, *([value] if sign else []))
        for column, names in (("agent", self.agents), ("model", self.models)):
            if names:
                add(f"({' OR '.join(_like(column, name) for name in names)})", *map(_pattern, names))
        for sign, moment, option in ((">=", self.since, "--since"), ("<", self.before, "--before")):
            if moment:
                add(f"dated {sign} ?", moment_of(moment, option))
        if self.own:
            add("is_own = 1")
        return " AND ".join(parts), values

    def hint(self, index: Index) -> str | None:
        """For a filter that no run can pass: the name that was meant."""
        for column, names in (("task", self.tasks), ("agent", self.agents), ("model", self.models)):
            known = [str(name) for (name,) in index.columns(f"DISTINCT {column}", f"{column} IS NOT NULL")]
            for name in names:
                last = name.rpartition("/")[2] if column == "task" else name
                if last not in known and "*" not in last and (meant := did_you_mean(last, known)):
                    return f"No run has the {column} {last!r}. {meant}"
        known = index.known_labels() if self.labels else []
        for key in (label.partition("=")[0] for label in self.labels):
            if key not in known and (meant := did_you_mean(key, known)):
                return f"No run has the label {key!r}. {meant}"
        return None


def order_by(key: str, *, reverse: bool) -> str:
    """key: of SORTS. What has no value comes last."""
    if reverse:
        return f"{SORTS[key]} IS NULL, {SORTS[key]}, folder"
    return f"{SORTS[key]} DESC, folder DESC"  # SQLite takes NULL for the least


def _like(column: str, name: str) -> str:
    """What needs no pattern is found by an index."""
    return f"{column} GLOB ?" if "*" in name else f"{column} = ?"


def _pattern(text: str) -> str:
    """Of GLOB, in which only `*` has its meaning; a name without it stays as it is."""
    if "*" not in text:
        return text
    return re.sub(r"[?\[]", lambda match: f"[{match[0]}]", text)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _known(values: Iterable[str], known: Sequence[str], what: str) -> list[str]:
    for value in values:
        if value not in known:
            hint = did_you_mean(value, known) or f"Known: {', '.join(known)}."
            raise InputError(f"There is no {what} {value!r}.", where=f"--{what}", hint=hint)
    return list(values)


def _score(text: str) -> tuple[str, float]:
    match = _SCORE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a score.", where="--score", hint="Write it like 4, '>=4' or '<3.5'.")
    return match[1] or "=", float(match[2])


def stats(index: Index, where: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """For each task the object of the contract (§7.9), and its outcomes: the success rate is that of the runs that
    passed, failed or ended with an error. Prices that are not known are in no sum, and counted; the sum of none is
    `None`."""
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    names = "collection, task, status, outcome, seconds, tokens, cost_usd, created, is_provisional"
    for collection, task, *rest in index.columns(names, where, values):
        groups.setdefault((collection, task), []).append(tuple(rest))
    return [_stats(*name, rows) for name, rows in sorted(groups.items())]


def _stats(collection: str, task: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    by_status, by_outcome = dict.fromkeys(STATUSES, 0), dict.fromkeys(OUTCOMES, 0)
    for status, outcome, *_ in rows:
        if status:
            by_status[status] += 1
            by_outcome[outcome] += 1
    seconds = sorted(row[2] for row in rows if row[2] is not None)
    tokens = [row[3] for row in rows if row[3] is not None]
    costs = [row[4] for row in rows if row[4] is not None]
    created = [row[5] for row in rows if row[5]]
    over = by_outcome["pass"] + by_outcome["fail"] + by_outcome["error"]
    return {
        "collection": collection,
        "task": task,
        "total": len(rows),
        "by_status": by_status,
        "by_outcome": by_outcome,
        "provisional": sum(row[6] for row in rows),
        "success_rate": round(by_outcome["pass"] / over, 3) if over else None,
        "avg_duration_seconds": round(sum(seconds) / len(seconds), 3) if seconds else None,
        "p50_duration_seconds": _percentile(seconds, 0.5),
        "p95_duration_seconds": _percentile(seconds, 0.95),
        "total_tokens": sum(tokens) if tokens else None,
        "total_cost_usd": round(sum(costs), 6) if costs else None,
        "unknown_cost_runs": sum(row[4] is None for row in rows),
        "first_run": min(created, default=None),
        "last_run": max(created, default=None),
    }


def _percentile(ordered: list[float], part: float) -> float | None:
    """The smallest value that so large a part of them does not exceed."""
    return round(ordered[max(0, ceil(len(ordered) * part) - 1)], 3) if ordered else None
