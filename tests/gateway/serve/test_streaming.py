"""A streamed answer: on its way as it arrives, and what happens when one side goes away."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest


def read_into(got: list[bytes], response: httpx.Response) -> None:
    for chunk in response.iter_bytes():
        got.append(chunk)


def test_stream_is_passed_on_byte_for_byte(provided: Any, upstream_stream: bytes) -> None:
    response = provided.ask("a", stream=True)
    assert response.content == upstream_stream
    assert response.headers["content-type"] == "text/event-stream"
    usage = provided.session.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (11, 42)
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.api_calls) == (3, 2, 1)
    assert provided.cassette.read(1).response == upstream_stream.decode()


def test_first_event_arrives_before_the_provider_has_finished(provided: Any, fake: Any, upstream_stream: bytes) -> None:
    body = {"model": "slow", "stream": True, "messages": []}
    with provided.client.stream("POST", "/v1/messages", json=body) as response:
        chunks = response.iter_bytes()
        first = next(chunks)
        assert first.startswith(b"event: message_start")
        assert b"message_stop" not in first
        assert provided.session.busy
        assert provided.cassette.calls() == []
        fake.go_on.set()
        assert first + b"".join(chunks) == upstream_stream
    provided.settled()
    (call,) = provided.cassette.calls()
    assert call.stream
    assert call.ttfb is not None
    assert call.ttfb <= call.seconds


def test_agent_that_hangs_up_ends_the_call_at_the_provider(provided: Any, fake: Any) -> None:
    body = {"model": "endless", "stream": True, "messages": []}
    with provided.client.stream("POST", "/v1/messages", json=body) as response:
        next(response.iter_bytes())
    assert fake.hung_up.wait(60)
    provided.settled()
    (event,) = provided.events
    assert event.status == 0
    assert event.error == "the agent closed the connection"
    assert event.usage.prompt_tokens == 11
    assert provided.session.failure is None


def test_agent_that_hangs_up_before_the_first_byte_is_noticed(connect: Any) -> None:
    """The provider here accepts the request and says nothing."""
    from runbook_runner.gateway import provider_from

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "k-1234"}))
        silent.settimeout(60)
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {line.session.token}\r\ncontent-length: 14\r\n\r\n"
        with socket.create_connection(line.listener.address, 60) as agent:
            agent.sendall(head.encode() + b'{"model": "m"}')
            connection, _ = silent.accept()
        connection.settimeout(60)
        while connection.recv(65536):
            pass
        connection.close()
        line.settled()
    assert line.events[0].status == 0
    assert line.events[0].error == "the agent closed the connection"
    assert (line.events[0].usage.api_calls, line.events[0].usage.estimated) == (1, True)


def test_stream_that_breaks_off_has_no_clean_end(provided: Any) -> None:
    got: list[bytes] = []
    body = {"model": "drop-mid", "stream": True, "messages": []}
    with (
        provided.client.stream("POST", "/v1/messages", json=body) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        read_into(got, response)
    assert b"message_start" in got[0]
    provided.settled()
    (call,) = provided.cassette.calls()
    assert call.status == 0
    assert "the provider's answer broke off" in str(call.error)
    assert (call.usage.prompt_tokens, call.usage.estimated) == (11, True)
    assert provided.cassette.read(1).response == b"".join(got).decode()
    assert provided.ask("next").status_code == 200


def test_error_in_the_middle_of_a_stream_is_recorded(provided: Any) -> None:
    response = provided.ask("a", model="overloaded", stream=True)
    assert response.status_code == 200
    assert "overloaded_error" in response.text
    assert provided.events[0].error == "Overloaded"
    assert provided.events[0].status == 200


def test_an_agent_hears_pings_while_its_model_is_silent(
    provided: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook_runner.gateway.serve.relay.PING_S", 0.05)
    got = b""
    body = {"model": "slow", "stream": True, "messages": []}
    with provided.client.stream("POST", "/v1/messages", json=body) as response:
        for chunk in response.iter_bytes():
            got += chunk
            if got.count(b"event: ping") >= 2:
                fake.go_on.set()
    assert got.endswith(b'data: {"type": "message_stop"}\n\n')
    provided.settled()
    recorded = provided.cassette.read(1).response
    assert (recorded.count("event: ping"), provided.events[0].error) == (1, None), "the provider's own"


def test_closing_the_session_ends_and_records_what_is_under_way(provided: Any, fake: Any) -> None:
    begun, broken = threading.Event(), threading.Event()

    def listen() -> None:
        body = {"model": "endless", "stream": True, "messages": []}
        try:
            with provided.client.stream("POST", "/v1/messages", json=body) as response:
                for _ in response.iter_bytes():
                    begun.set()
        except httpx.TransportError:
            broken.set()

    agent = threading.Thread(target=listen)
    agent.start()
    assert begun.wait(60)
    provided.session.close()
    assert not provided.session.busy
    assert [event.error for event in provided.events] == ["the run ended before the answer did"]
    assert fake.hung_up.wait(60)
    assert broken.wait(60)


def test_activity_is_seen_while_bytes_flow(provided: Any, eventually: Any) -> None:
    before = provided.session.last_activity
    body = {"model": "endless", "stream": True, "messages": []}
    with provided.client.stream("POST", "/v1/messages", json=body) as response:
        chunks = response.iter_bytes()
        next(chunks)
        first = provided.session.last_activity
        assert before < first
        eventually(lambda: provided.session.last_activity > first)


def test_many_calls_at_once_are_all_served_and_numbered(provided: Any) -> None:
    def ask(number: int) -> int:
        return int(provided.ask(f"question {number}", stream=number % 2 == 0).status_code)

    with ThreadPoolExecutor(24) as agents:
        assert list(agents.map(ask, range(24))) == [200] * 24
    assert [call.number for call in provided.cassette.calls()] == list(range(1, 25))
    assert provided.session.usage.api_calls == 24
    assert sorted(event.number for event in provided.events) == list(range(1, 25))
