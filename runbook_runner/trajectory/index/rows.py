"""Trajectory, index: what the index keeps of a run, read from its folder. Everything there may have come with a clone:
each field is bounded and of its type, and what can't be read is a row that says so."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from runbook_runner.core.clock import iso, now_iso
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.text import encodable
from runbook_runner.trajectory.cost import paid
from runbook_runner.trajectory.folders import EVENTS_FILE, TRAJECTORY_FILE
from runbook_runner.trajectory.index.own_runs import stamp_of
from runbook_runner.trajectory.outcome import STATUSES, UNKNOWN, is_provisional, outcome_of, status_of
from runbook_runner.trajectory.overlay import TooLargeError, first_event, overlay_as_far_as_known, read_summary

RACY_NS: Final = 2_000_000_000
"""A file that was changed so shortly before it was read may change again within the same tick of its clock."""
KINDS: Final = ("run", "replay", "fork", "rerun", "attempt", "import")
_MOST_TEXT, _MOST_LABELS, _MOST_PARAMS = 500, 200, 200
_MOST_END = 1 << 16
_BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Row(NamedTuple):
    """One run; the names are the columns of the index."""

    folder: str
    """Below the trajectories: `collection/task/id`."""
    collection: str
    task: str
    id: str
    status: str | None
    """`None`: see `problem`."""
    verdict: str | None
    outcome: str
    """See `trajectory.outcome`."""
    kind: str
    """One of KINDS."""
    of: str | None
    """The id of the run that it repeats or goes on from, or where it was recorded; `None`: it is a run of its own."""
    params: str
    """What was given, shortened: `name=Ada n=3`."""
    score: float | None
    agent: str | None
    model: str | None
    created: str | None
    """As its files say it."""
    dated: str | None
    """The same; of a time that has not come yet, when its folder was last changed here: lists are sorted by it."""
    updated: str | None
    seconds: float | None
    tokens: int | None
    cost_usd: float | None
    """What was paid: answers from scripts and cassettes cost nothing. `None`: not known."""
    error: str | None
    problem: str | None
    """Why its files can't be read."""
    stamp: str
    """Of the files that this was read from."""
    times: str
    """Of the trajectory folder, see `times_of`."""
    inode: str
    """Of the same; it may be too large for an integer of SQLite."""
    unsettled: int
    """1: it is to be looked at again: it was not over, or had just been changed."""
    is_own: int = 0
    """1: this user's machine has made it, or brought it here. Only the index knows."""
    is_provisional: int = 0
    """1: see `outcome.is_provisional`."""


class Read(NamedTuple):
    row: Row
    labels: Mapping[str, str]


def times_of(seen: os.stat_result) -> str:
    """Of a folder: when it was changed, which its owner can set, when the kernel saw that, and which folder it is."""
    return f"{seen.st_mtime_ns}:{seen.st_ctime_ns}:{seen.st_ino}"


def is_fresh(times: str, now_ns: int) -> bool:
    """times: of `times_of`."""
    mtime_ns, ctime_ns, _ = map(int, times.split(":"))
    return max(mtime_ns, ctime_ns) > now_ns - RACY_NS


def read_row(top: str, folder: str) -> Read | None:
    """top: the folder of all trajectories. `None` when there is no run: a folder without a log and a trajectory."""
    path = f"{top}/{folder}"
    try:
        seen, now = os.lstat(path), time.time_ns()
    except OSError:
        return None
    stamp, problem = stamp_of(path), None
    if not stamp.strip():
        return None
    try:
        body = _body(Path(path))
    except OSError as error:
        body, problem = {}, f"it can't be read: {error.strerror}"
    except TooLargeError as error:
        body, problem = {}, str(error)
    except _BROKEN:
        body, problem = {}, "its files are damaged"
    try:
        return _read(folder, body, problem, stamp, seen, now)
    except _BROKEN:
        return _read(folder, {}, "its trajectory.json is not of this program", stamp, seen, now)


def _body(path: Path) -> dict[str, Any]:
    """Raises OSError, and what JSON from outside can raise."""
    try:
        body = read_summary(path / TRAJECTORY_FILE)
    except FileNotFoundError:
        body = _from_log(path / EVENTS_FILE)
    return overlay_as_far_as_known(path).over(body)


def _from_log(path: Path) -> dict[str, Any]:
    """Of a run that is not over, or died: its first event, and its last when that is its end."""
    with open_regular(path) as log:
        first = first_event(log)
        if first["type"] != "run.started":
            raise ValueError("no first event")
        size = os.fstat(log.fileno()).st_size
        log.seek(max(0, size - _MOST_END))
        lines = log.read(_MOST_END).splitlines()
    last = _last(lines)
    over = last.get("type") == "run.finished"
    labels = [{"key": key, "value": value} for key, value in dict(first.get("labels") or {}).items()]
    return {
        "status": last.get("status") if over else "running",
        "error": last.get("error") if over else None,
        "created": first["ts"],
        "updated": last.get("ts") or first["ts"],
        "init_params": first.get("init_params"),
        "labels": labels,
        "attributes": {"params": _params_of(first, last if over else {})},
        "steps": {"run": {"duration_seconds": last.get("seconds")}} if over else {},
    }


def _params_of(first: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    """As the fold has them, as far as the list needs them."""
    replay, attempt = _object(first.get("replay")), _object(first.get("attempt"))
    params = {"origin": first.get("origin"), "rerun_of": first.get("rerun_of")}
    params |= {"replay": replay, "parent_trajectory_id": replay.get("parent_trajectory_id")} if replay else {}
    params |= {"attempt": attempt, "parent_trajectory_id": attempt.get("parent_trajectory_id")} if attempt else {}
    return params | ({"outcome": UNKNOWN} if end.get("is_known") is False else {})


def _last(lines: list[bytes]) -> dict[str, Any]:
    """The last line that is whole."""
    for line in reversed(lines):
        try:
            return dict(json.loads(line))
        except _BROKEN:
            continue
    return {}


def _read(
    folder: str, body: dict[str, Any], problem: str | None, stamp: str, seen: os.stat_result, now_ns: int
) -> Read:
    collection, task, name = folder.split("/")
    params, steps = _object(body.get("init_params")), _object(body.get("steps"))
    step = _object(next(reversed(steps.values()), None))
    outputs = _object(step.get("outputs"))
    usage = _object(outputs.get("usage"))
    status = status_of(body)
    status = status if status in STATUSES else None
    verdict, created, times = _text(outputs.get("verdict")), _text(body.get("created")), times_of(seen)
    attributes = _object(_object(body.get("attributes")).get("params"))
    kind, of = _kind(attributes)
    if status is None and problem is None:
        problem = "it has no status that this version knows"
    row = Row(
        folder=encodable(folder),
        collection=encodable(collection),
        task=encodable(task),
        id=encodable(name),
        status=status,
        verdict=verdict,
        outcome=outcome_of(status, verdict),
        kind=kind,
        of=of,
        params=_given(params),
        score=_score(body),
        agent=_text(params.get("agent")),
        model=_text(params.get("model")),
        created=created,
        dated=created if created is None or created <= now_iso() else _changed(seen),
        updated=_text(body.get("updated")),
        seconds=_number(step.get("duration_seconds")),
        tokens=_tokens(usage, tells_all=kind != "import" or "sandbox" in attributes),
        cost_usd=_paid(usage, _object(attributes.get("spent"))),
        error=_text(body.get("error")),
        problem=problem,
        stamp=stamp,
        times=times,
        inode=str(seen.st_ino),
        is_provisional=int(status == "completed" and is_provisional(attributes)),
        unsettled=int(is_fresh(times, now_ns) or status in ("pending", "running")),
    )
    labels = [label for label in body.get("labels") or () if isinstance(label, dict)][:_MOST_LABELS]
    pairs = ((_text(label.get("key")), _text(str(label.get("value")))) for label in labels)
    return Read(row, {key: value or "" for key, value in pairs if key})


def _changed(seen: os.stat_result) -> str:
    """As the kernel says it, which no archive does."""
    return iso(datetime.fromtimestamp(seen.st_ctime, UTC))


def _tokens(usage: dict[str, Any], *, tells_all: bool) -> int | None:
    """tells_all: it is not what another program has recorded, where 0 means that they were not recorded."""
    tokens = _whole(usage.get("total_tokens"))
    return tokens if tells_all or usage.get("api_calls") else tokens or None


def _paid(usage: dict[str, Any], spent: dict[str, Any]) -> float | None:
    """spent: the part of the usage that a provider answered; empty where that is all of it."""
    if not spent:
        return _number(usage.get("cost_usd"))
    return paid(_number(spent.get("cost_usd")), _whole(spent.get("api_calls")) or 0)


def _kind(params: dict[str, Any]) -> tuple[str, str | None]:
    """params: of the attributes."""
    if origin := _text(params.get("origin")):
        return "import", origin
    if parent := _text(params.get("rerun_of")):
        return "rerun", parent
    parent = _text(params.get("parent_trajectory_id"))
    if replay := _object(params.get("replay")):
        return ("fork" if replay.get("mode") == "fork" else "replay"), parent
    return ("attempt", parent) if params.get("attempt") else ("run", None)


def _given(params: dict[str, Any]) -> str:
    given = _object(params.get("vars"))
    told = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given.items()]
    text = encodable(" ".join(" ".join(told)[: 4 * _MOST_PARAMS].split()))
    return text if len(text) <= _MOST_PARAMS else f"{text[:_MOST_PARAMS]}…"


def _score(body: dict[str, Any]) -> float | None:
    """The mean of the judge's scores, as a gate has it; none when a criterion has none."""
    judge = _object(_object(_object(body.get("attributes")).get("params")).get("judge"))
    return None if judge.get("errors") else _number(judge.get("score"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return encodable(value[:_MOST_TEXT]) if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return number if number is not None and abs(number) < 1e15 else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
