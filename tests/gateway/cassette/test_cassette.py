"""The recording of model calls: complete, small, clean, and honest when it can't be written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.events import Event
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, RecordedCall, load_script
from runbook_runner.gateway.cassette.blobs import BlobFolder
from runbook_runner.gateway.cassette.cassette import Body

Scripted = Callable[[str], Any]
CALL = RecordedCall(number=1, ts="2026-03-04", dialect="anthropic", operation="generate", path="/v1/messages",
                    model="m", source="provider", status=200, seconds=1.0)  # fmt: skip


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_request_and_response_come_back_as_they_were(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {say: 'Grüße', shell: ls}")
    body = {
        "model": "m",
        "system": [{"type": "text", "text": "be brief " * 200, "cache_control": {"type": "ephemeral"}}],
        "tools": [bash, {"name": "x", "description": "long " * 300}],
        "messages": [{"role": "user", "content": "short"}, {"role": "user", "content": [{"$blob": "not ours"}]}],
        "odd": {"$blob": "not ours either"},
        "list": [{"$blob": "0" * 64}, 1.5, None, True],
        "metadata": {"z": 1, "a": 2},
    }
    answer = line.post("/v1/messages?beta=true", **body).json()
    exchange = line.cassette.read(1)
    assert exchange.request == body
    assert list(exchange.request["metadata"]) == ["z", "a"]
    assert exchange.response == answer
    assert exchange.call.path == "/v1/messages?beta=true"
    assert exchange.call.request_headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in exchange.call.request_headers


def test_hundred_turns_of_growing_history_stay_under_ten_megabytes(scripted: Scripted, bash: dict[str, Any]) -> None:
    """Each turn repeats all before it, with a tool result that no compression makes smaller than a third."""
    line = scripted("".join(f"- {{say: 'turn {n}', usage: {{input: 1}}}}\n" for n in range(100)))
    tools = [{**bash, "name": f"tool{n}", "description": f"describes {n} " * 300} for n in range(15)]
    tools.append(bash)
    messages: list[dict[str, Any]] = []
    sent = 0
    for turn in range(100):
        noise = "".join(f"{(turn * 7919 + n * 104729) ** 3 % 10**9:09d}\n" for n in range(400))
        messages.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": str(turn), "content": noise}]}
        )
        response = line.ask("", messages=messages, tools=tools, system="You are " * 2000, stream=True)
        assert response.status_code == 200
        sent += len(response.request.content)
        messages.append({"role": "assistant", "content": [{"type": "text", "text": f"turn {turn}"}]})
    recorded = size_of(line.cassette.folder)
    assert sent > 20_000_000
    assert recorded < 10_000_000
    assert recorded < sent / 20
    assert len(line.cassette.read(100).request["messages"]) == 199


def test_repeated_history_is_cleaned_once(tmp_path: Path) -> None:
    cleaned: list[Any] = []

    class Noted(Redactor):
        def json(self, value: Any) -> Any:
            cleaned.append(value)
            return super().json(value)

    cassette = Cassette(tmp_path, Noted({"KEY": "canary-123456"}))
    history = [{"role": "user", "content": f"{n} " * 2000} for n in range(50)]
    cassette.keep_json({"messages": history})
    assert all(message in cleaned for message in history)
    cleaned.clear()
    cassette.keep_json({"messages": [*history, {"role": "user", "content": "one more"}]})
    assert {"role": "user", "content": "one more"} in cleaned
    assert not any(message in cleaned for message in history)


def test_known_secrets_and_key_patterns_are_removed_before_writing(
    tmp_path: Path, leaks: Callable[[Path, str], list[str]]
) -> None:
    cassette = Cassette(tmp_path, Redactor({"PIN": "4711", "TOKEN": "canary/äö 123"}))
    github = "ghp_" + "a1B2" * 10
    body = cassette.keep_json({"messages": [{"c": f"canary/äö 123 {github} " + "4711 " * 200}], "4711": "4711"})
    cassette.keep_text(f"plain {github}", "text/plain; x=4711")
    assert leaks(tmp_path, "canary/") == []
    assert leaks(tmp_path, github) == []
    assert body.kind == "json"


def test_short_secret_that_is_part_of_a_digest_does_not_break_the_recording(tmp_path: Path) -> None:
    digests = {f"N{n}": f"{n:04x}" for n in range(0, 65536, 16)}
    cassette = Cassette(tmp_path, Redactor(digests))
    cassette.hide("TOKEN", "x" * 43)
    body = cassette.keep_json({"messages": [{"role": "user", "content": "zzzz " * 300}]})
    assert cassette._body(body) == {"messages": [{"role": "user", "content": "zzzz " * 300}]}


def test_torn_last_line_is_left_out(scripted: Scripted) -> None:
    line = scripted("- say: one\n- say: two")
    line.ask("a")
    line.ask("b")
    index = line.cassette.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-20])
    assert [call.number for call in line.cassette.calls()] == [1]


def test_damaged_recording_is_reported_where_it_is(scripted: Scripted) -> None:
    line = scripted("- say: one")
    line.ask("a")
    blob = line.cassette.calls()[0].request.blob
    path = line.cassette.folder / "blobs" / blob[:2] / f"{blob}.zst"
    path.write_bytes(b"garbage")
    with pytest.raises(InputError, match=f"{blob}.zst: A part of this recording can't be read"):
        line.cassette.read(1)
    path.unlink()
    with pytest.raises(InputError, match=f"{blob}.zst: A part of this recording is missing"):
        line.cassette.read(1)
    with pytest.raises(InputError, match="There is no model call 7"):
        line.cassette.read(7)
    (line.cassette.folder / "index.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"index\.jsonl:1: This is not a recorded model call"):
        line.cassette.calls()


def test_index_can_not_point_outside_its_folder(scripted: Scripted) -> None:
    line = scripted("- say: one")
    line.ask("a")
    index = line.cassette.folder / "index.jsonl"
    record = json.loads(index.read_text())
    record["request"]["blob"] = "../../../../etc/passwd"
    index.write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="is not the name of a blob"):
        line.cassette.read(1)


def test_no_half_written_files_are_left(scripted: Scripted) -> None:
    line = scripted("- say: one")
    line.ask("a")
    names = [path.name for path in line.cassette.folder.rglob("*") if path.is_file()]
    assert names
    assert all(name == "index.jsonl" or name.endswith(".zst") for name in names)


def test_full_disk_answers_500_and_ends_the_run_but_not_the_server(connect: Any, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("- say: one\n- say: two")

    def full(event: Event) -> None:
        raise RecordingError("No space left on device.", where="events.jsonl")

    line = connect(load_script(tmp_path / "m.yaml"), emit=full)
    other = connect(load_script(tmp_path / "m.yaml"))
    first = line.ask("a")
    assert first.status_code == 500
    assert first.json()["error"]["message"] == "events.jsonl: No space left on device."
    assert line.session.failure.kind == "recording"
    assert line.ask("b").status_code == 500
    assert line.session.calls == 1
    assert other.ask("a").status_code == 200


def test_stream_that_can_not_be_recorded_has_no_clean_end(connect: Any, tmp_path: Path) -> None:
    import httpx

    (tmp_path / "m.yaml").write_text("- say: one")

    def full(event: Event) -> None:
        raise RecordingError("No space left on device.")

    line = connect(load_script(tmp_path / "m.yaml"), emit=full)
    with pytest.raises(httpx.RemoteProtocolError):
        line.ask("a", stream=True)
    assert line.session.failure.kind == "recording"


def test_folder_that_can_not_be_written_stops_the_call_before_the_provider_sees_it(connect: Any, fake: Any) -> None:
    from runbook_runner.gateway import provider_from

    line = connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}))
    line.cassette.folder.write_text("a file where the folder should be")
    response = line.ask("a")
    assert response.status_code == 500
    assert "Can't record a model call" in response.json()["error"]["message"]
    assert line.session.failure.kind == "recording"
    assert fake.requests == []


def test_bug_in_a_reader_of_events_is_named_not_swallowed(connect: Any, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("- say: one")

    def broken(event: Event) -> None:
        raise ZeroDivisionError("oops")

    line = connect(load_script(tmp_path / "m.yaml"), emit=broken)
    assert line.ask("a").status_code == 500
    assert line.session.failure.kind == "internal"
    assert "ZeroDivisionError" in line.session.failure.message


def test_an_index_that_is_no_text_is_reported(scripted: Scripted) -> None:
    line = scripted("- say: one")
    line.ask("a")
    index = line.cassette.folder / "index.jsonl"
    written = index.read_bytes()
    for damaged in (b"\xff\xfe\n" + written, written.replace(b'"ts":"2', b'"ts":"x'), written.replace(b'"', b"\x00")):
        index.write_bytes(damaged)
        with pytest.raises(InputError, match=r"index\.jsonl:1: This is not a recorded model call"):
            line.cassette.calls()
    index.unlink()
    index.mkdir()
    with pytest.raises(InputError, match="Can't read this recording"):
        line.cassette.calls()


def test_a_part_of_another_kind_is_reported(scripted: Scripted) -> None:
    line = scripted("- say: one")
    line.ask("a", stream=True)
    index = line.cassette.folder / "index.jsonl"
    index.write_text(index.read_text().replace('"kind":"text"', '"kind":"json"'))
    with pytest.raises(InputError, match=r"\.zst: A part of this recording is not json"):
        line.cassette.read(1)


def test_a_document_that_is_nested_too_deeply_is_refused(scripted: Scripted) -> None:
    """What compares recordings, and makes scripts of them, goes down level by level."""
    line = scripted("- say: hi")
    line.ask("hi", deep=json.loads("[" * 400 + "]" * 400))
    with pytest.raises(InputError, match=r"blob [0-9a-f]{64}: This is nested deeper than 100 levels"):
        line.cassette.read(1)


def test_what_a_document_unpacks_to_is_bounded_with_its_parts(tmp_path: Path) -> None:
    """On disk it may be a line of some hundred bytes, and any number of lines may name it."""
    blobs = BlobFolder(tmp_path / "blobs")
    words = blobs.put(b'"%s"' % (b"a" * (10 << 20)))
    for parts in (b'{"$blob":"%s"}' % words.encode(), b"[" + b"1," * (300 << 10) + b"1]"):
        blob = blobs.put(b'{"messages":[%s]}' % b",".join([parts] * 30))
        body = Body(blob=blob, kind="json", content_type="application/json")
        with pytest.raises(InputError, match=r"\.zst: This part of a recording takes more than 256 MB"):
            Cassette(tmp_path, Redactor({})).exchange(CALL.model_copy(update={"request": body}))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.zst")) < 100_000


def test_an_index_of_any_length_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").touch()
    os.truncate(tmp_path / "index.jsonl", 64_000_001)
    with pytest.raises(InputError, match=r"index\.jsonl: The index has more than 64 MB"):
        Cassette(tmp_path, Redactor({})).calls()


def test_a_line_that_does_not_fit_on_the_disk_spoils_no_other(scripted: Scripted) -> None:
    """A limit of the size of files stands for a disk that fills up and is then given room."""
    resource = pytest.importorskip("resource")
    line = scripted("- say: one")
    line.ask("a")
    (call,) = line.cassette.calls()
    index = line.cassette.folder / "index.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (index.stat().st_size + 40, limits[1]))
    try:
        with pytest.raises(RecordingError, match="Can't record a model call"):
            line.cassette.append(call.model_copy(update={"number": 2}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    line.cassette.append(call.model_copy(update={"number": 3}))
    assert [call.number for call in line.cassette.calls()] == [1, 3]
