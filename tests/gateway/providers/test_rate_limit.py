"""How fast a provider is asked: one queue per key, for all runs of the process."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Log
from runbook_runner.gateway import listen, provider_from
from runbook_runner.gateway.providers.rate_limit import Pace, Throttle, pace_from


class Busy(BaseHTTPRequestHandler):
    """Counts how many requests it has at once; the model `limited` is refused with a Retry-After."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        seen: Any = self.server
        with seen.lock:
            seen.now += 1
            seen.most = max(seen.most, seen.now)
            seen.times.append(time.monotonic())
        time.sleep(0.05)
        with seen.lock:
            seen.now -= 1
        answer = b'{"type":"message","usage":{"input_tokens":1,"output_tokens":1}}'
        self.send_response(429 if b"limited" in body else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        if b"limited" in body:
            self.send_header("retry-after", seen.wait)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def busy() -> Iterator[Any]:
    server: Any = Server(("127.0.0.1", 0), Busy)
    server.now, server.most, server.times, server.lock, server.wait = 0, 0, [], threading.Lock(), "1.5"
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def key_for(server: Any, **more: str) -> Any:
    return provider_from("anthropic", {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "k-1234", **more})


def ask_at_once(lines: list[Any], each: int) -> None:
    threads = [threading.Thread(target=line.ask, args=(f"{number}",)) for line in lines for number in range(each)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_more_calls_at_once_than_the_key_may_have_over_all_runs(connect: Any, busy: Any) -> None:
    lines = [connect(key_for(busy, RUNBOOK_MAX_PARALLEL_CALLS="3")) for _ in range(2)]
    ask_at_once(lines, 6)
    assert busy.most == 3
    assert [len(line.events) for line in lines] == [6, 6]


def test_calls_are_spread_over_the_minute(connect: Any, busy: Any) -> None:
    lines = [connect(key_for(busy, RUNBOOK_MAX_CALLS_PER_MINUTE="600")) for _ in range(2)]
    began = time.monotonic()
    ask_at_once(lines, 3)
    assert len(busy.times) == 6
    assert busy.times[-1] - began >= 0.5


def test_provider_that_asks_for_a_pause_gets_it_from_every_run(connect: Any, busy: Any) -> None:
    first, second = connect(key_for(busy)), connect(key_for(busy))
    refused = first.ask("a", model="limited")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1.5")
    began = time.monotonic()
    assert second.ask("b").status_code == 200
    assert time.monotonic() - began > 1.3
    (told,) = [event for event in second.events if isinstance(event, Log)]
    assert "waited 1." in told.message
    assert "for its turn at anthropic" in told.message


def test_pause_that_is_too_long_is_told_at_once_and_the_provider_not_asked(connect: Any, busy: Any) -> None:
    busy.wait = "3600"
    line = connect(key_for(busy))
    line.ask("a", model="limited")
    refused = line.ask("b")
    assert refused.status_code == 429
    assert "rate-limited this key; retry in" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 3590
    assert len(busy.times) == 1


@pytest.mark.parametrize("wait", ["inf", "nan", "-5", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_pause_that_is_no_number_is_none(connect: Any, busy: Any, wait: str) -> None:
    busy.wait = wait
    line = connect(key_for(busy))
    assert line.ask("a", model="limited").headers["retry-after"] == wait
    line.ask("b")
    assert len(busy.times) == 2


def test_another_key_does_not_wait(connect: Any, busy: Any) -> None:
    connect(key_for(busy)).ask("a", model="limited")
    other = connect(key_for(busy, ANTHROPIC_API_KEY="k-other"))
    began = time.monotonic()
    assert other.ask("b").status_code == 200
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("text", ["0", "-3", "many", "0.5"])
def test_pace_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="RUNBOOK_MAX_PARALLEL_CALLS is"):
        pace_from({"RUNBOOK_MAX_PARALLEL_CALLS": text})


def test_pace_has_defaults() -> None:
    assert pace_from({"RUNBOOK_MAX_CALLS_PER_MINUTE": " "}) == Pace(parallel=64, per_minute=None)
    assert pace_from({"RUNBOOK_MAX_PARALLEL_CALLS": "2"}) == Pace(parallel=2)


def test_caller_that_gives_up_leaves_its_place_to_the_next() -> None:
    async def scene() -> list[str]:
        throttle, done = Throttle(Pace(parallel=1)), []

        async def call(name: str, hold: asyncio.Event) -> None:
            async with throttle.turn():
                done.append(name)
                await hold.wait()

        hold = asyncio.Event()
        first = asyncio.create_task(call("first", hold))
        await asyncio.sleep(0.01)
        second, third = (asyncio.create_task(call(name, hold)) for name in ("second", "third"))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait({second})
        hold.set()
        await asyncio.wait_for(asyncio.gather(first, third), 5)
        return done

    assert asyncio.run(scene()) == ["first", "third"]


def test_runs_in_threads_of_their_own_share_the_queue(busy: Any, tmp_path: Any) -> None:
    import httpx

    from runbook_runner.core.redaction import Redactor
    from runbook_runner.gateway import Cassette

    def one_run(number: int) -> None:
        with listen() as listener:
            upstream = key_for(busy, RUNBOOK_MAX_PARALLEL_CALLS="2", ANTHROPIC_API_KEY="k-shared")
            cassette = Cassette(tmp_path / str(number), Redactor({}))
            session = listener.open(upstream=upstream, cassette=cassette, emit=lambda _: None)
            url = "http://{}:{}/v1/messages".format(*listener.address)
            for text in "abc":
                body = {"model": "m", "messages": [{"role": "user", "content": text}]}
                assert httpx.post(url, json=body, headers={"x-api-key": session.token}).status_code == 200

    runs: list[Callable[[], None]] = [lambda n=n: one_run(n) for n in range(5)]  # type: ignore[misc]
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(busy.times) == 15
    assert busy.most == 2
