"""Runner, imports: the session files of agents' CLIs: one JSON object a line, with the time of each (field notes §5).

A session is read twice: first for its facts, then for its events. Only a last line may be torn: the CLI was killed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runbook_runner import __version__
from runbook_runner.agents.sessions.base import Facts, Form, Line
from runbook_runner.core.clock import BEGINNING, moment, seconds_between
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentFinished, AgentMessage, AgentStarted, ModelCalled, RunFinished, RunStarted
from runbook_runner.core.formats.json_toml import plain_json, require_few_values
from runbook_runner.trajectory.imports.imported import Imported, Moments, Timed

LONGEST_LINE: Final = 64 << 20
MOST_BYTES: Final = 1 << 30


def read_session(path: Path, form: Form, source: str) -> Imported:
    """Raises InputError with the line for one that is not an object, but for a last one that is torn."""
    facts, notes, times = Facts(), list[str](), list[str]()
    for line in lines_of(path, source, notes):
        if time := moment(line.get("timestamp")):
            times[1 if times else 0 :] = [time]
        form.note(line, facts)
    return Imported(
        form=f"a session of {form.agent}",
        events=_events(path, form, facts, times, source),
        trajectory_id=facts.session or None,
        notes=tuple(notes),
    )


def lines_of(path: Path, source: str, notes: list[str]) -> Iterator[Line]:
    left = MOST_BYTES
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(LONGEST_LINE):
            number += 1
            left -= len(raw)
            where = f"{source}:{number}"
            if left < 0:
                raise InputError(f"The session has more than {MOST_BYTES >> 20} MB.", where=where)
            if not raw.strip():
                continue
            require_few_values(raw, where)
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError) as error:
                if not raw.endswith(b"\n") and len(raw) < LONGEST_LINE:
                    notes.append(f"The last line, {number}, is torn and was left out.")
                    return
                why = error.msg if isinstance(error, json.JSONDecodeError) else "it is not text or is nested too deeply"
                raise InputError(f"The line is not JSON: {why}.", where=where) from error
            if not isinstance(line, dict):
                raise InputError("The line is not a JSON object.", where=where)
            yield plain_json(line)


def _events(path: Path, form: Form, facts: Facts, times: list[str], source: str) -> Iterator[Timed]:
    begun = times[0] if times else BEGINNING
    clock, text = Moments(begun), ""
    model = facts.model or None
    yield Timed(
        begun,
        RunStarted(
            trajectory_id=facts.session,
            collection="",
            task="",
            author=form.agent,
            spec_digest="",
            init_params={"agent": form.agent, "model": model, "instruction": facts.prompt},
            step_config={},
            engine=f"runbook-runner/{__version__}",
            origin=f"a session of {form.agent}, {source}",
        ),
    )
    yield Timed(begun, AgentStarted(agent=form.agent, version=facts.version or None, model=model))
    read, calls, prompted = form.reader(), 0, False
    for line in _with_end(lines_of(path, source, [])):
        ts = clock.of(line.get("timestamp"))
        for event in read(line):
            if isinstance(event, ModelCalled):
                calls += 1
                event = event.model_copy(update={"number": calls})
            if isinstance(event, AgentMessage) and event.parent_call_id is None:
                if event.role == "user" and not prompted and event.text == facts.prompt:
                    prompted = True  # it is the instruction
                    continue
                text = event.text if event.role == "assistant" else text
            yield Timed(ts, event)
    ended = times[-1] if times else clock.last
    yield Timed(ended, AgentFinished(exit_code=None, ended_by="exit", text=text))
    seconds = max(0.0, seconds_between(begun, ended))
    yield Timed(ended, RunFinished(status="completed", seconds=seconds, is_known=False))


def _with_end(lines: Iterator[Line]) -> Iterator[Line]:
    yield from lines
    yield {}
