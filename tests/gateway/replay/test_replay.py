"""Answers from a recording: which ones, how a difference is told, and when it stops."""

import json
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import ModelCalled, ReplayDiverged, Usage
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Budget, Cassette, RecordedCall, load_replay, load_script, provider_from
from runbook_runner.gateway.replay.difference import compare as compare_requests
from runbook_runner.gateway.replay.index import open_index
from runbook_runner.gateway.script.from_recording import script_from
from runbook_runner.sandbox.paths import app_rewriter

SIGNATURE = "EqQBCgIYAhIkZm9v" + "Zm9vYmFyYmF6cXV4/+" * 8 + "=="
TOOLS = [{"name": "Bash", "description": "Runs.", "input_schema": {"type": "object"}}]
SYSTEM = [{"type": "text", "text": "You are a program.\nBe brief."}]


def question(turns: int = 0, *, output: str = "fine", said: str = "on it", **body: Any) -> dict[str, Any]:
    """The request after so many tool calls, as a CLI would send it."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "Do the work."}]}]
    for n in range(turns):
        call = {"type": "tool_use", "id": f"toolu_{n}", "name": "Bash", "input": {"command": f"step {n}"}}
        thought = {"type": "thinking", "thinking": "hm", "signature": SIGNATURE}
        messages.append({"role": "assistant", "content": [thought, {"type": "text", "text": said}, call]})
        result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": f"{output} {n}"}
        messages.append({"role": "user", "content": [result]})
    return {"model": "m", "max_tokens": 9, "system": SYSTEM, "tools": TOOLS, "messages": messages, **body}


def answer(text: str) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 5}
    return {"id": f"msg_{text}", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": text}], "usage": usage}  # fmt: skip


Record = Callable[..., Path]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Writes a recording of these requests and answers; fields of a call may be set in a third element."""

    def write(*calls: tuple[Any, ...], secrets: dict[str, str] | None = None, name: str = "recorded") -> Path:
        cassette = Cassette(tmp_path / name, Redactor(secrets or {}))
        for number, (request, response, *fields) in enumerate(calls, 1):
            kept = cassette.keep_text if isinstance(response, str) else cassette.keep_json
            kind = "text/event-stream" if isinstance(response, str) else "application/json"
            values: dict[str, Any] = {
                "number": number, "ts": "2026-03-04T23:59:59.000000Z", "dialect": "anthropic", "operation": "generate",
                "path": "/v1/messages?beta=true", "model": request["model"], "source": "provider", "status": 200,
                "seconds": 1.0, "stream": isinstance(response, str), "request": cassette.keep_json(request),
                "response": None if response is None else kept(response, kind),
                "usage": Usage(prompt_tokens=7, completion_tokens=5, cost_usd=0.25, api_calls=1),
            }  # fmt: skip
            cassette.append(RecordedCall(**{**values, **(fields[0] if fields else {})}))
        return cassette.folder

    return write


def texts(response: Any) -> list[str]:
    return [block["text"] for block in response.json()["content"]]


def diverged(line: Any) -> list[ReplayDiverged]:
    return [event for event in line.events if isinstance(event, ReplayDiverged)]


# --- the same request ----------------------------------------------------------------------------------------------


def test_recorded_requests_get_their_answers_in_any_order_and_side_by_side(connect: Any, record: Record) -> None:
    calls = [(question(n), answer(f"answer {n}")) for n in range(12)]
    line = connect(load_replay(record(*calls)))
    order = [7, 3, 11, 0, 5, 1, 2, 10, 4, 6, 9, 8]
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda n: texts(line.post(**question(n))), order))
    assert got == [[f"answer {n}"] for n in order]
    assert diverged(line) == []
    assert line.session.failure is None


def test_a_streamed_answer_comes_back_byte_for_byte(connect: Any, provided: Any, upstream_stream: bytes) -> None:
    original = provided.ask("a", stream=True)
    assert original.content == upstream_stream
    line = connect(load_replay(provided.cassette.folder))
    again = line.ask("a", stream=True)
    assert again.content == original.content
    assert again.headers["content-type"] == original.headers["content-type"]
    assert line.cassette.read(1).response == provided.cassette.read(1).response


def test_tokens_and_money_are_those_of_the_recording_and_marked_as_replayed(connect: Any, record: Record) -> None:
    line = connect(load_replay(record((question(), answer("one")))))
    line.post(**question())
    (event,) = line.events
    assert isinstance(event, ModelCalled)
    assert (event.source, event.usage.prompt_tokens, event.usage.completion_tokens) == ("replay", 7, 5)
    assert event.usage.cost_usd == 0.25
    assert line.cassette.calls()[0].source == "replay"


def test_another_session_on_another_day_in_another_folder_is_the_same(connect: Any, record: Record) -> None:
    def asked(day: datetime, session: str, port: int, temp: str) -> dict[str, Any]:
        note = (
            f"<env>\nToday's date is {day:%Y-%m-%d}.\nSession {session}, temp {temp}/x, http://127.0.0.1:{port}\n</env>"
        )
        system = [*SYSTEM, {"type": "text", "text": f"now: {day:%Y-%m-%d}T10:20:30.5Z, session {session}"}]
        body = question(2, system=system, metadata={"user_id": session})
        body["messages"][0]["content"].insert(0, {"type": "text", "text": note})
        body["messages"][-1]["content"][0]["cache_control"] = {"type": "ephemeral"} if port > 5000 else None
        return body

    first, second = "0d9e4b1c-7d6f-4d5b-9a8e-111111111111", "5f0e9a3b-1c2d-4e3f-8a7b-222222222222"
    line = connect(
        load_replay(record((asked(datetime(2026, 3, 4, tzinfo=UTC), first, 4001, "/tmp/a1"), answer("one"))))
    )
    assert texts(line.post(**asked(datetime.now(UTC), second, 59002, "/tmp/b2"))) == ["one"]
    assert diverged(line) == []


def test_a_date_that_is_not_today_is_somebodys_data(connect: Any, record: Record) -> None:
    def about(day: str) -> dict[str, Any]:
        return question(system=f"Report on {day}.")

    line = connect(load_replay(record((about("2026-01-31"), answer("one")))))
    line.post(**about("2026-02-28"))
    (event,) = diverged(line)
    assert (event.differences[0].before, event.differences[0].after) == (
        "Report on 2026-01-31.",
        "Report on 2026-02-28.",
    )


def test_tool_use_ids_and_thinking_signatures_survive_recording_and_replay(connect: Any, record: Record) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": SIGNATURE}
    call = {"type": "tool_use", "id": "toolu_01Qz9VbW8kJ3xYt5", "name": "Bash", "input": {"command": "ls"}}
    reply = {**answer("one"), "content": [thought, call]}
    folder = record((question(), reply), (question(1), answer("two")), secrets={"KEY": "canary-31415926"})
    line = connect(load_replay(folder))
    assert line.post(**question()).json()["content"] == [thought, call]
    assert texts(line.post(**question(1))) == ["two"]
    assert diverged(line) == []


# --- asked again ---------------------------------------------------------------------------------------------------


def test_a_question_asked_again_gets_the_same_answer(connect: Any, record: Record) -> None:
    line = connect(load_replay(record((question(), answer("one")), (question(1), answer("two")))))
    assert [texts(line.post(**question())) for _ in range(3)] == [["one"]] * 3
    assert texts(line.post(**question(1))) == ["two"]


def test_equal_questions_with_different_answers_get_them_in_order(connect: Any, record: Record) -> None:
    line = connect(load_replay(record((question(), answer("one")), (question(), answer("two")))))
    assert [texts(line.post(**question())) for _ in range(3)] == [["one"], ["two"], ["two"]]


def test_an_error_that_a_retry_overcame_is_not_played_again(connect: Any, record: Record) -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    folder = record((question(), failed, {"status": 529, "error": "busy"}), (question(), answer("one")))
    assert texts(connect(load_replay(folder)).post(**question())) == ["one"]


def test_an_error_that_ended_the_run_ends_it_again(connect: Any, record: Record) -> None:
    failed = {"type": "error", "error": {"type": "rate_limit_error", "message": "enough"}}
    fields = {"status": 429, "error": "enough", "response_headers": {"retry-after": "17"}}
    line = connect(load_replay(record((question(), failed, fields))))
    for _ in range(2):
        response = line.post(**question())
        assert (response.status_code, response.json()) == (429, failed)
        assert response.headers["retry-after"] == "17"


def test_a_connection_that_broke_breaks_again_and_the_next_attempt_gets_its_answer(connect: Any, provided: Any) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        provided.ask("a", stream=True, model="drop-mid")
    whole = provided.ask("a", stream=False, model="drop-mid")
    provided.settled()
    line = connect(load_replay(provided.cassette.folder))
    with pytest.raises(httpx.RemoteProtocolError):
        line.ask("a", stream=True, model="drop-mid")
    assert line.ask("a", stream=False, model="drop-mid").json() == whole.json()
    line.settled()
    then, now = (at.cassette.calls()[0].error for at in (provided, line))
    assert then.startswith("the provider's answer broke off: ")
    assert now == then.replace("the provider's answer", "the recorded answer")


def test_a_recording_with_half_an_answer_is_told_as_such(connect: Any, record: Record) -> None:
    half = 'event: message_start\ndata: {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}\n\n'
    line = connect(load_replay(record((question(stream=True), half))))
    with pytest.raises(httpx.RemoteProtocolError):
        line.post(**question(stream=True))
    line.settled()
    (call,) = line.cassette.calls()
    assert (call.source, call.error) == (
        "replay",
        "the recorded answer broke off: the stream ended before the answer did",
    )


# --- a request that differs ----------------------------------------------------------------------------------------


def test_what_a_tool_printed_may_differ_and_is_told_once(connect: Any, record: Record) -> None:
    calls = [(question(n, output="took 1.2 s"), answer(f"answer {n}")) for n in range(4)]
    line = connect(load_replay(record(*calls)))
    assert [texts(line.post(**question(n, output="took 3.4 s"))) for n in range(4)] == [
        [f"answer {n}"] for n in range(4)
    ]
    events = diverged(line)
    assert [(event.severity, event.served, event.recorded, event.number) for event in events] == [
        ("minor", "recorded", n, n) for n in (2, 3, 4)
    ]
    (first,) = events[0].differences
    assert (first.path, first.line, first.origin) == ("messages[2].content[0].content", 1, "tool output")
    assert (first.before, first.after) == ("took 1.2 s 0", "took 3.4 s 0")
    assert [event.total for event in events] == [1, 2, 3]
    assert [len(event.differences) for event in events] == [1, 1, 1]


def test_another_mission_is_a_major_divergence_that_names_the_line(connect: Any, record: Record) -> None:
    line = connect(load_replay(record((question(), answer("one")), (question(1), answer("two")))))
    body = question()
    body["messages"][0]["content"][0]["text"] = "Do other work."
    assert texts(line.post(**body)) == ["one"]
    (event,) = diverged(line)
    assert (event.severity, event.differences[0].path) == ("major", "messages[0].content[0].text")
    assert (event.differences[0].before, event.differences[0].after) == ("Do the work.", "Do other work.")


@pytest.mark.parametrize(
    ("change", "path", "severity"),
    [
        ({"max_tokens": 10}, "max_tokens", "minor"),
        ({"system": "You are a program.\nBe long."}, "system", "minor"),
        ({"tools": [*TOOLS, {"name": "Other"}]}, "tools[1]", "minor"),
        ({"model": "bigger"}, "model", "major"),
        ({"temperature": 1}, "temperature", "minor"),
    ],
)
def test_everything_else_that_differs_is_named(
    connect: Any, record: Record, change: dict[str, Any], path: str, severity: str
) -> None:
    line = connect(load_replay(record((question(system="You are a program.\nBe brief."), answer("one")))))
    assert texts(line.post(**{**question(system="You are a program.\nBe brief."), **change})) == ["one"]
    (event,) = diverged(line)
    assert (event.severity, [difference.path for difference in event.differences]) == (severity, [path])


def test_another_conversation_stops_the_run_and_says_where(connect: Any, record: Record) -> None:
    line = connect(load_replay(record(*((question(n), answer(f"answer {n}")) for n in range(4)))))
    assert texts(line.post(**question(1))) == ["answer 1"]
    response = line.post(**question(2, said="on it, but otherwise"))
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert "messages[1].content[1].text" in response.json()["error"]["message"]
    assert line.session.failure.kind == "replay"
    assert line.session.failure.message == (
        "the recording has no answer to this model call; the nearest, call 3, differs:\n"
        "messages[1].content[1].text, line 1 (model):\n  - on it\n  + on it, but otherwise\n"
        "messages[3].content[1].text, line 1 (model):\n  - on it\n  + on it, but otherwise"
    )
    (event,) = diverged(line)
    assert (event.severity, event.served, event.recorded, event.number) == ("miss", "nothing", 3, 2)
    assert line.post(**question(3)).status_code == 400, "nothing more is answered"


def test_a_longer_conversation_than_the_recorded_one_stops(connect: Any, record: Record) -> None:
    line = connect(load_replay(record((question(0), answer("one")), (question(1), answer("two")))))
    response = line.post(**question(2))
    assert response.status_code == 400
    assert "messages[3]" in line.session.failure.message


def test_a_stream_is_no_answer_to_who_asked_for_none(connect: Any, provided: Any) -> None:
    provided.ask("a", stream=True)
    line = connect(load_replay(provided.cassette.folder))
    assert line.ask("a").status_code == 400
    assert line.session.failure.message.endswith("nor to a similar one")


def test_nearest_is_served_when_asked_for_but_not_silently(connect: Any, record: Record) -> None:
    folder = record((question(0), answer("one")), (question(1), answer("two")))
    line = connect(load_replay(folder, on_miss="nearest"))
    assert texts(line.post(**question(1, said="something else"))) == ["two"]
    (event,) = diverged(line)
    assert (event.severity, event.served, event.recorded) == ("miss", "recorded", 2)


def test_live_asks_the_provider_for_what_is_not_recorded(connect: Any, record: Record, fake: Any, key: str) -> None:
    provider = provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": key})
    line = connect(load_replay(record((question(), answer("one"))), on_miss="live", fallback=provider))
    assert texts(line.post(**question())) == ["one"]
    assert fake.requests == []
    assert texts(line.post(**question(1))) == ["hello"]
    assert len(fake.requests) == 1
    assert [call.source for call in line.cassette.calls()] == ["replay", "provider"]
    (event,) = diverged(line)
    assert (event.severity, event.served) == ("miss", "live")


def test_counting_tokens_that_was_not_recorded_is_estimated(connect: Any, record: Record) -> None:
    line = connect(load_replay(record((question(), answer("one")))))
    assert line.post("/v1/messages/count_tokens", **question()).json()["input_tokens"] > 20
    (event,) = diverged(line)
    assert (event.severity, event.served) == ("minor", "estimate")
    assert line.session.failure is None


# --- secrets -------------------------------------------------------------------------------------------------------


def test_both_sides_are_redacted_alike(connect: Any, record: Record) -> None:
    secret = "canary-Zq7/Xw+41kD9"
    folder = record((question(1, output=secret, said=secret), answer("one")), secrets={"TOKEN": secret})
    cleaner = Redactor({"TOKEN": "another-value-9876"})
    line = connect(load_replay(folder).recorded_with(cleaner.json, str, str), secrets={"TOKEN": "another-value-9876"})
    asked = question(1, output="another-value-9876", said="another-value-9876")
    assert texts(line.post(**asked)) == ["one"]
    assert diverged(line) == []


def test_a_secret_known_by_another_name_is_a_minor_difference(connect: Any, record: Record) -> None:
    folder = record((question(1, said="key canary-31415926"), answer("one")), secrets={"OLD": "canary-31415926"})
    cleaner = Redactor({"NEW": "canary-31415926"})
    line = connect(load_replay(folder).recorded_with(cleaner.json, str, str))
    assert texts(line.post(**question(1, said="key canary-31415926"))) == ["one"]
    (event,) = diverged(line)
    assert event.severity == "minor"
    assert event.differences[0].before == "key ***REDACTED:OLD***"


# --- places --------------------------------------------------------------------------------------------------------


def test_paths_of_the_recorded_sandbox_become_those_of_this_one(connect: Any, record: Record) -> None:
    here, there = "/tmp/new-1/app", "/tmp/old-1/app"
    reply = {
        **answer("one"),
        "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {"c": f"ls {there}/x"}}],
    }
    folder = record((question(1, said=f"in {there}"), reply))
    replay = load_replay(folder).recorded_with(
        lambda value: value, lambda text: text.replace(there, here), lambda text: text.replace(here, there)
    )
    line = connect(replay)
    response = line.post(**question(1, said=f"in {here}"))
    assert response.json()["content"][0]["input"] == {"c": f"ls {here}/x"}
    assert diverged(line) == []


# --- fork ----------------------------------------------------------------------------------------------------------


def test_a_fork_serves_the_first_calls_and_then_asks_the_script(connect: Any, record: Record, tmp_path: Path) -> None:
    (tmp_path / "then.yaml").write_text("- {say: new two, usage: {input: 3}}\n- say: new three\n")
    folder = record(*((question(n), answer(f"answer {n}")) for n in range(4)))
    line = connect(load_replay(folder, until=2, fallback=load_script(tmp_path / "then.yaml")))
    got = [texts(line.post(**question(n))) for n in range(3)]
    got.append(texts(line.post(**question(3, said="no longer as recorded"))))
    assert got == [["answer 0"], ["answer 1"], ["new two"], ["new three"]]
    assert [call.source for call in line.cassette.calls()] == ["replay", "replay", "script", "script"]
    assert diverged(line) == []


def test_a_script_after_a_fork_works_in_the_folders_of_this_sandbox(
    connect: Any, record: Record, tmp_path: Path
) -> None:
    (tmp_path / "then.yaml").write_text("- shell: echo two > /app/results/two.txt\n")
    replay = load_replay(
        record((question(), answer("one"))), until=1, fallback=load_script(tmp_path / "then.yaml")
    ).placed(app_rewriter("/work/here"))
    line = connect(replay)
    bash = {**TOOLS[0], "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
    line.post(**question())
    (call,) = [one for one in line.post(**question(1, tools=[bash])).json()["content"] if one["type"] == "tool_use"]
    assert call["input"]["command"] == "echo two > /work/here/results/two.txt"


def test_a_fork_still_stops_at_what_differs_before_it(connect: Any, record: Record, tmp_path: Path) -> None:
    (tmp_path / "then.yaml").write_text("- say: never\n")
    folder = record(*((question(n), answer(f"answer {n}")) for n in range(4)))
    line = connect(load_replay(folder, until=3, fallback=load_script(tmp_path / "then.yaml")))
    assert line.post(**question(1, said="otherwise")).status_code == 400
    assert line.session.failure.kind == "replay"


def test_a_fork_beyond_the_end_is_refused(record: Record) -> None:
    with pytest.raises(InputError, match="There is no model call 3: the recording has 1"):
        load_replay(record((question(), answer("one"))), until=3)


@pytest.mark.parametrize(("name", "named"), [("22222", 22222), ("9" * 5000, "9" * 5000), ("²", "²")])
def test_a_process_may_have_any_name(connect: Any, record: Record, name: str, named: Any) -> None:
    wait = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"session_id": 11065}}
    folder = record((question(1, output="session ID 11065"), answer("") | {"content": [wait]}))
    line = connect(load_replay(folder))
    response = line.post(**question(1, output=f"session ID {name}"))
    assert response.json()["content"][0]["input"] == {"session_id": named}


# --- recordings that can't be replayed -----------------------------------------------------------------------------


def test_a_folder_without_recorded_calls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No model calls are recorded here"):
        load_replay(tmp_path)


def test_a_recording_without_bodies_is_refused(record: Record) -> None:
    folder = record((question(), answer("one"), {"request": None, "response": None}))
    with pytest.raises(InputError, match="no requests and answers") as caught:
        load_replay(folder)
    assert "--record-mode full" in str(caught.value)


@pytest.mark.parametrize("status", [-1, 100, 101, 600])
def test_a_status_that_no_answer_has_is_damage(record: Record, status: int) -> None:
    """After 101 the agent would wait for what follows in another protocol."""
    with pytest.raises(InputError, match=rf"index.jsonl:2: No answer has the status {status}\."):
        load_replay(record((question(), answer("one")), (question(1), answer("two"), {"status": status})))


def test_what_a_recording_unpacks_to_is_bounded_in_all(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the index may name one answer of megabytes, which on disk has some kilobytes."""
    folder = record(*((question(n), "data: {}\n\n" * 30_000) for n in range(4)))
    index = open_index(folder)
    monkeypatch.setattr("runbook_runner.gateway.cassette.cassette.MOST_UNPACKED", 1 << 20)
    for use in (load_replay, lambda _: script_from(index)):
        with pytest.raises(InputError, match="recorded: This recording takes more than 1 MB when it is unpacked"):
            use(folder)


def test_an_answer_that_was_changed_on_disk_stops_the_run(connect: Any, record: Record) -> None:
    folder = record((question(), answer("one")), (question(1), answer("x" * 600)))
    line = connect(load_replay(folder))
    index = [json.loads(text) for text in (folder / "index.jsonl").read_text().splitlines()]
    blob = index[1]["response"]["blob"]
    (folder / "blobs" / blob[:2] / f"{blob}.zst").write_bytes(b"not it")
    assert texts(line.post(**question())) == ["one"]
    assert line.post(**question(1)).status_code == 400
    assert "can't be replayed any further" in line.session.failure.message


def test_hundred_turns_with_an_early_difference_are_compared_once_each(
    connect: Any, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def compare(*requests: Any) -> Any:
        compared.append(1)
        return compare_requests(*requests)

    monkeypatch.setattr("runbook_runner.gateway.replay.index.compare", compare)
    calls = [(question(n, output="x " * 500), answer(f"answer {n}")) for n in range(100)]
    line = connect(load_replay(record(*calls)))
    for n in range(100):
        body = question(n, output="x " * 500)
        if n:
            body["messages"][2]["content"][0]["content"] = "y"
        assert texts(line.post(**body)) == [f"answer {n}"]
    assert len(compared) == 99
    assert sum(len(event.differences) for event in diverged(line)) == 1


# --- fork of every API ---------------------------------------------------------------------------------------------


def asked(text: str) -> dict[str, Any]:
    """A question in all four APIs at once."""
    content = [{"role": "user", "parts": [{"text": text}]}]
    return {"model": "m", "messages": [{"role": "user", "content": text}], "input": text, "contents": content}


@pytest.mark.parametrize("path", [
    "/v1/messages", "/v1/responses", "/v1/chat/completions", "/v1beta/models/m:generateContent",
])  # fmt: skip
def test_a_fork_of_a_fork_replays_and_only_what_is_new_counts(connect: Any, tmp_path: Path, path: str) -> None:
    for name in "abc":
        turns = [f"- {{say: {name}{n}, usage: {{input: 40, output: 10, cost: 1}}}}\n" for n in range(3)]
        (tmp_path / f"{name}.yaml").write_text("".join(turns))
    first = connect(load_script(tmp_path / "a.yaml"))
    for n in range(3):
        first.post(path, **asked(f"q{n}"))
    fork = connect(
        load_replay(first.cassette.folder, until=2, fallback=load_script(tmp_path / "b.yaml")),
        budget=Budget(max_calls=2, max_tokens=100, max_cost_usd=2),
    )
    answers = [fork.post(path, **asked(f"q{n}")).text for n in range(5)]
    told = ["a0", "a1", "b0", "b1", "the run's budget of 2 model calls is used up"]
    assert [text in answer for text, answer in zip(told, answers, strict=True)] == [True] * 5
    assert [call.source for call in fork.cassette.calls()] == ["replay", "replay", "script", "script", "replay"]
    again = connect(load_replay(fork.cassette.folder, until=3, fallback=load_script(tmp_path / "c.yaml")))
    got = [again.post(path, **asked(f"q{n}")).json() for n in range(4)]
    assert [text in str(answer) for text, answer in zip(["a0", "a1", "b0", "c0"], got, strict=True)] == [True] * 4
    whole = connect(load_replay(again.cassette.folder))
    assert [whole.post(path, **asked(f"q{n}")).json() for n in range(4)] == got
    assert whole.session.usage.api_calls == 4


def test_a_repetition_ends_where_the_budget_ended_the_run(connect: Any, record: Record) -> None:
    line = connect(load_replay(record(*((question(n), answer(f"{n}")) for n in range(3)))), budget=Budget(max_calls=2))
    assert [line.post(**question(n)).status_code for n in range(3)] == [200, 200, 400]
    assert line.session.failure.kind == "budget"


# --- long answers --------------------------------------------------------------------------------------------------


def test_a_long_stream_is_played_in_bounded_memory(connect: Any, record: Record) -> None:
    event = 'event: content_block_delta\ndata: {"type":"ping","x":"' + "x" * 2000 + '"}\n\n'
    folder = record((question(stream=True), event * 8000 + 'data: {"type":"message_stop"}\n\n'))
    line = connect(load_replay(folder))
    tracemalloc.start()
    with line.client.stream("POST", "/v1/messages", json=question(stream=True)) as response:
        size = sum(map(len, response.iter_bytes()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 16_000_000
    assert peak < 8 << 20


# --- processes that go on ------------------------------------------------------------------------------------------

CODEX = [{"type": "function", "name": "write_stdin", "parameters": {}}]


def waited(name: int, polls: int) -> list[dict[str, Any]]:
    """Codex's side of the conversation: a command that goes on under this name, and so many waits for it."""
    said: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for n in range(polls + 1):
        call = {"cmd": "sleep 60"} if n == 0 else {"session_id": name, "chars": ""}
        arguments = json.dumps(call)
        said.append({"type": "function_call", "call_id": f"c{n}", "name": "x", "arguments": arguments})
        output = f"Wall time: 30 seconds\nProcess running with session ID {name}\nOutput:\n"
        said.append({"type": "function_call_output", "call_id": f"c{n}", "output": output})
    return said


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_model_that_waits_for_a_process_waits_for_the_one_of_this_run(
    connect: Any, tmp_path: Path, stream: bool
) -> None:
    """Its name is a number that Codex draws."""
    turn = "- tool: {{name: write_stdin, input: {{session_id: {}, chars: ''}}}}\n"
    (tmp_path / "m.yaml").write_text("".join(map(turn.format, (11065, 11065, 7))))
    line = connect(load_script(tmp_path / "m.yaml"))
    body = {"model": "m", "tools": CODEX, "stream": stream}
    for polls in range(3):
        line.post("/v1/responses", input=waited(11065, polls), **body)
    again = connect(load_replay(line.cassette.folder))
    got = [again.post("/v1/responses", input=waited(22222, polls), **body).text for polls in range(3)]
    assert ["22222" in answer and "11065" not in answer for answer in got] == [True, True, False]
    assert 'session_id\\": 7' in got[2], "what no tool named stays as it is"
    assert again.session.failure is None
    assert {event.severity for event in diverged(again)} == {"minor"}, "the name, where the tool first said it"


# --- what a CLI itself puts into the output of a tool ----------------------------------------------------------------


def ran(agent: str, number: int, printed: str = "fine") -> tuple[str, dict[str, Any]]:
    """Path and body of the request after one command, with what two CLIs put around its output, as they do it."""
    if agent == "codex":
        head = f"Chunk ID: {number:06x}\nWall time: {number / 9:.4f} seconds\nProcess exited with code 0\n"
        output = f"{head}Original token count: 1\nOutput:\n{printed}\n"
        call = {"type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"}
        said = [{"role": "user", "content": "go"}, call, {**call, "type": "function_call_output", "output": output}]
        return "/v1/responses", {"model": "m", "tools": CODEX, "input": said}
    output = f"<untrusted_context>\nOutput: {printed}\nProcess Group PGID: {number}\n</untrusted_context>"
    call = {"functionCall": {"name": "run_shell_command", "args": {"command": "true"}}}
    answered = {"functionResponse": {"name": "run_shell_command", "response": {"output": output}}}
    contents = [("user", {"text": "go"}), ("model", call), ("user", answered)]
    body = {"contents": [{"role": role, "parts": [part]} for role, part in contents]}
    return "/v1beta/models/m:generateContent", body


@pytest.mark.parametrize("agent", ["codex", "gemini-cli"])
def test_what_a_cli_draws_at_random_is_the_same_in_the_runs_of_its_agent_only(
    connect: Any, tmp_path: Path, agent: str
) -> None:
    (tmp_path / "m.yaml").write_text("- say: Done.\n")
    line = connect(load_script(tmp_path / "m.yaml"))
    path, body = ran(agent, 39)
    assert line.post(path, **body).status_code == 200
    volatile = find_agent(agent).volatile_output

    def severities(patterns: tuple[str, ...], number: int, printed: str) -> list[tuple[str, int]]:
        again = connect(load_replay(line.cassette.folder, volatile_output=patterns))
        path, body = ran(agent, number, printed)
        assert again.post(path, **body).status_code == 200
        return [(event.severity, event.total) for event in diverged(again)]

    assert severities(volatile, 4711, "fine") == []
    assert severities(volatile, 4711, "fine\nChunk ID: 00002a") == [("minor", 1)], "only what the command printed"
    assert severities((), 4711, "fine") == [("minor", 1)]
    assert severities(find_agent("claude-code").volatile_output, 4711, "fine") == [("minor", 1)]
