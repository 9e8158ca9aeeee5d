"""Trajectory, imports: reads a trajectory as the hosted platform has it (contract §7). Its field types are not relied
on: what is not as the contract says is left out of the events, and stays in the file that is kept."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final, get_args

from runbook_runner import __version__
from runbook_runner.core.clock import BEGINNING, moment, seconds_between
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    Evaluated,
    Level,
    Log,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.formats.numbers import amount, count
from runbook_runner.trajectory.imports.imported import (
    Imported,
    Moments,
    Timed,
    object_of,
    objects_of,
    text_of,
)
from runbook_runner.trajectory.outcome import UNKNOWN

FORM: Final = "a hosted trajectory"
_GOES_ON: Final = ("pending", "running")
_MOST_LABELS = 1000
_STORED = re.compile(r"[^/]+\.(?P<step>[^/.]+)\.(?P<number>\d{4,9})\.(?P<name>[^/]+)")
"""The last part of a storage key (contract §5.4)."""


def is_hosted(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("steps"), dict) and "trajectory_id" in body


def read_hosted(body: Any, source: str, *, origin: str | None = None) -> Imported:
    """body: the JSON of a trajectory. source: where it came from, for messages. origin: what the run says of it.
    Raises InputError when it is not such an object."""
    if not is_hosted(body):
        raise InputError(
            "This is not a trajectory of the platform: it has no `trajectory_id` or no object `steps`.", where=source
        )
    body = plain_json(body)
    collection, _, task = text_of(body.get("name")).partition("/")
    return Imported(
        form=FORM,
        events=_events(body, origin or f"{FORM}, {source}"),
        collection=collection or None,
        task=task or None,
        trajectory_id=text_of(body.get("trajectory_id")) or None,
        files=stored_files(body),
    )


def labels_of(body: Any) -> dict[str, str]:
    """Key → value; of a key that is given twice the last counts, as readers of the platform have it."""
    labels = objects_of(object_of(body).get("labels"))[:_MOST_LABELS]
    return {text_of(label.get("key")): text_of(label.get("value")) for label in labels if text_of(label.get("key"))}


def stored_files(body: Any) -> dict[str, str]:
    """Storage key of each file that a step of the run has → its place below the trajectory folder."""
    keys: list[str] = []
    for step in object_of(object_of(body).get("steps")).values():
        outputs = object_of(object_of(step).get("outputs"))
        for name in ("results_files", "files", "primary_files"):
            for entry in _list(outputs.get(name)):
                key = text_of(entry if isinstance(entry, str) else object_of(entry).get("path"))
                keys += [key] if key else []
    return stored_places(keys)


def stored_places(keys: Iterable[str]) -> dict[str, str]:
    """Storage key → place below the trajectory folder; no two have the same."""
    found: dict[str, str] = {}
    used: set[str] = set()
    numbers = Counter[str]()
    for key in dict.fromkeys(keys):
        wished = place_of(key)
        place, pure = wished, PurePosixPath(wished)
        while place in used:
            numbers[wished] += 1
            place = str(pure.with_name(f"{pure.stem}-{numbers[wished] + 1}{pure.suffix}"))
        found[key] = place
        used.add(place)
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def place_of(key: str) -> str:
    """`acme/t/0000/bb2bb71e.run.0003.app--results--outputs--chart.png` → `results/outputs/chart.png`. What was not
    below /app/results is put into `agent/`, as its name there is."""
    name = PurePosixPath(key).name
    stored = _STORED.fullmatch(name)
    flat = stored["name"] if stored else name
    parts = [part if part.strip(".") else "_" for part in flat.split("--") if part]
    if parts[:2] == ["app", "results"] and len(parts) > 2:
        return "/".join(["results", *parts[2:]])
    return f"agent/{flat.lstrip('.') or 'file'}"


def _events(body: dict[str, Any], origin: str) -> Iterator[Timed]:
    init, author = object_of(body.get("init_params")), text_of(body.get("author"))
    steps = {name: object_of(step) for name, step in body["steps"].items()}
    clock = Moments(moment(body.get("created")) or _first_time(body, steps))
    begun = clock.last
    configs = object_of(body.get("step_configs"))
    params = object_of(object_of(body.get("attributes")).get("params"))
    started = RunStarted(
        trajectory_id=text_of(body.get("trajectory_id")),
        collection="",
        task="",
        author=author,
        spec_digest=text_of(params.get("spec_digest")),
        init_params=init,
        step_config=object_of(configs.get("run")) or next((object_of(one) for one in configs.values()), {}),
        labels=labels_of(body),
        engine=text_of(params.get("engine")) or f"runbook-runner/{__version__}",
        origin=origin,
    )
    yield Timed(begun, started)
    yield from _in_order([*_logs(body, begun), *_steps(steps, init, begun)])
    error = text_of(body.get("error")) or next(filter(None, (text_of(s.get("error")) for s in steps.values())), None)
    ended = moment(body.get("updated")) or clock.last
    status: Any = body.get("status")
    is_known = status in get_args(Status) and status not in _GOES_ON and params.get("outcome") != UNKNOWN
    if status in _GOES_ON:
        yield Timed(ended, Log(level="warning", message=f"It was {status} when it was fetched: its end is not known."))
    elif status not in get_args(Status):
        yield Timed(ended, Log(level="warning", message=f"The status {str(status)[:100]!r} is not known."))
    if not is_known:
        status, is_known = ("failed", True) if error else ("completed", False)
    seconds = max(0.0, seconds_between(begun, ended))
    yield Timed(ended, RunFinished(status=status, error=error or None, seconds=seconds, is_known=is_known))


def _first_time(body: dict[str, Any], steps: dict[str, dict[str, Any]]) -> str:
    """The earliest time that it tells, of one that does not say when it was created; BEGINNING when it tells none."""
    said = [step.get(key) for step in steps.values() for key in ("created", "ended")]
    said += [event.get("ts") for event in objects_of(body.get("events"))]
    return min(filter(None, map(moment, [*said, body.get("updated")])), default=BEGINNING)


def _in_order(events: list[Timed]) -> list[Timed]:
    return sorted(events, key=lambda timed: timed.ts)


def _logs(body: dict[str, Any], begun: str) -> Iterator[Timed]:
    clock = Moments(begun)
    for event in objects_of(body.get("events")):
        level: Any = event.get("level") if event.get("level") in get_args(Level) else "info"
        step = text_of(event.get("step"))
        message = text_of(event.get("message"))
        source = "platform" if not step else f"platform, step {step[:200]}"
        yield Timed(clock.of(event.get("ts")), Log(level=level, message=message, source=source))


def _steps(steps: dict[str, dict[str, Any]], init: dict[str, Any], begun: str) -> Iterator[Timed]:
    clock = Moments(begun)
    for name, step in steps.items():
        start = clock.of(step.get("created"))
        yield Timed(start, PhaseStarted(phase=name))
        outputs = object_of(step.get("outputs"))
        end = clock.of(step.get("ended"))
        yield from _step(step, outputs, init, start, end)
        took = amount(step.get("duration_seconds"))
        seconds = took if took is not None else max(0.0, seconds_between(start, end))
        failed = step.get("status") == "failed" or bool(step.get("error"))
        yield Timed(end, PhaseFinished(phase=name, seconds=seconds, ok=not failed))


def _step(step: dict[str, Any], outputs: dict[str, Any], init: dict[str, Any], start: str, end: str) -> Iterator[Timed]:
    inputs = object_of(step.get("inputs"))
    text = text_of(outputs.get("text")) or text_of(outputs.get("content"))
    usage = usage_of(outputs.get("usage"))
    if text or usage or step.get("activity") == "runbook":
        agent = text_of(init.get("agent")) or text_of(step.get("activity")) or "unknown"
        model = text_of(inputs.get("model")) or text_of(init.get("model")) or None
        yield Timed(start, AgentStarted(agent=agent, model=model))
        prompt = text_of(inputs.get("prompt"))
        if prompt:
            yield Timed(start, AgentMessage(text=prompt, role="user"))
        if text:
            yield Timed(end, AgentMessage(text=text))
        code = outputs.get("exit_code")
        code = code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 1 << 32 else None
        error = text_of(step.get("error")) or None
        finished = AgentFinished(exit_code=code, ended_by="exit", text=text, usage=usage, error=error)
        yield Timed(end, finished)
    yield from _evaluated(outputs, end)


def usage_of(value: Any) -> Usage | None:
    """`None` when there is nothing usable."""
    if not isinstance(value, dict):
        return None
    return Usage(
        prompt_tokens=count(value.get("prompt_tokens")),
        completion_tokens=count(value.get("completion_tokens")),
        cache_read_tokens=count(value.get("cache_read_tokens")),
        cache_write_tokens=count(value.get("cache_write_tokens")),
        cost_usd=amount(value.get("cost_usd")),
        api_calls=count(value.get("api_calls")),
    )


def _evaluated(outputs: dict[str, Any], ts: str) -> Iterator[Timed]:
    verdict, success = outputs.get("verdict"), outputs.get("success")
    if verdict not in ("pass", "fail") and not isinstance(success, bool):
        return
    passed = verdict == "pass" if verdict in ("pass", "fail") else success is True
    overall = outputs.get("overall_passed")
    missing = [text_of(name) for name in _list(outputs.get("missing_outputs")) if isinstance(name, str)]
    yield Timed(
        ts,
        Evaluated(
            verdict="pass" if passed else "fail",
            success=success if isinstance(success, bool) else passed,
            overall_passed=overall if isinstance(overall, bool) else None,
            missing_outputs=tuple(missing),
            validation_report=outputs.get("validation_report") or None,
            reasons=("as the platform has recorded it",) if verdict not in ("pass", "fail") else (),
        ),
    )
