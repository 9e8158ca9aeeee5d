"""How fast a provider is asked: one queue per key, for all runs of the process."""

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_runner.core.clock import utc_now
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Log
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, listen, provider_from
from runbook_runner.gateway.providers.rate_limit import Pace, Throttle, pace_from


class Busy(BaseHTTPRequestHandler):
    """Counts how many requests it has at once, and holds them until it has had `expected` at once; the model `limited`
    is refused with a Retry-After."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        seen: Any = self.server
        with seen.changed:
            seen.now += 1
            seen.calls += 1
            seen.most = max(seen.most, seen.now)
            seen.changed.notify_all()
            seen.changed.wait_for(lambda: seen.most >= seen.expected, 60)
            seen.now -= 1
        answer = b'{"type":"message","usage":{"input_tokens":1,"output_tokens":1}}'
        self.send_response(429 if b"limited" in body else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        if b"limited" in body:
            self.send_header(seen.header, seen.wait)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def busy() -> Iterator[Any]:
    server: Any = Server(("127.0.0.1", 0), Busy)
    server.now, server.most, server.calls, server.expected, server.wait = 0, 0, 0, 1, "0.5"
    server.header = "retry-after"
    server.changed = threading.Condition()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def key_for(server: Any, **more: str) -> Any:
    return provider_from("anthropic", {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "k-1234", **more})


def ask_at_once(lines: list[Any], each: int) -> None:
    with ThreadPoolExecutor(len(lines) * each) as agents:
        answers = [agents.submit(line.ask, f"{number}") for line in lines for number in range(each)]
    assert {answer.result().status_code for answer in answers} == {200}


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing that is due, so that nothing is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select
        self._selector.select = self._jump_then(select)

    def _jump_then(self, select: Any) -> Any:
        def jump(timeout: float | None) -> Any:
            self._now += timeout or 0.0
            return select(0)

        return jump

    def time(self) -> float:
        return self._now


def starts_of(throttle: Throttle, calls: int, pause: float = 0) -> list[float]:
    """When so many calls at once, of no duration, may start, with a pause that the provider asks for before them."""

    async def call(starts: list[float]) -> None:
        async with throttle.turn():
            starts.append(round(asyncio.get_running_loop().time(), 2))

    async def all_calls() -> list[float]:
        starts: list[float] = []
        throttle.pause(pause)
        await asyncio.gather(*(call(starts) for _ in range(calls)))
        return starts

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(all_calls())


def test_calls_are_spread_over_the_minute() -> None:
    assert starts_of(Throttle(Pace(per_minute=600)), 6) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_calls_start_when_a_pause_is_over() -> None:
    assert starts_of(Throttle(Pace()), 2, pause=45) == [45.0, 45.0]
    assert starts_of(Throttle(Pace(per_minute=60)), 2, pause=45) == [45.0, 46.0]


def test_no_more_calls_at_once_than_the_key_may_have_over_all_runs(connect: Any, busy: Any) -> None:
    busy.expected = 3
    lines = [connect(key_for(busy, RUNBOOK_MAX_PARALLEL_CALLS="3")) for _ in range(2)]
    ask_at_once(lines, 6)
    assert busy.most == 3
    assert [len(line.events) for line in lines] == [6, 6]


def test_pace_holds_for_all_runs_with_the_same_key(connect: Any, busy: Any) -> None:
    one, other = key_for(busy, RUNBOOK_MAX_CALLS_PER_MINUTE="600"), key_for(busy, RUNBOOK_MAX_CALLS_PER_MINUTE="300")
    assert one.throttle is other.throttle
    assert one.throttle.pace.per_minute == 300
    ask_at_once([connect(one), connect(other)], 2)
    assert busy.calls == 4


def test_provider_that_asks_for_a_pause_gets_it_from_every_run(
    connect: Any, busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook_runner.gateway.providers.forward.REPORTED_WAIT_S", 0.0)
    first, second = connect(key_for(busy)), connect(key_for(busy))
    refused = first.ask("a", model="limited")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "0.5")
    assert second.ask("b").status_code == 200
    (told,) = [event for event in second.events if isinstance(event, Log)]
    assert re.fullmatch(r"a model call waited \d+\.\d s for its turn at anthropic", told.message)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("retry-after", "3600"),
        ("retry-after", format_datetime(utc_now() + timedelta(hours=1), usegmt=True)),
        ("retry-after-ms", "3600000"),
    ],
    ids=["seconds", "date", "milliseconds"],
)
def test_pause_that_is_too_long_is_told_at_once_and_the_provider_not_asked(
    connect: Any, busy: Any, header: str, wait: str
) -> None:
    busy.header, busy.wait = header, wait
    first, second = connect(key_for(busy)), connect(key_for(busy))
    first.ask("a", model="limited")
    for line in (first, second):
        refused = line.ask("b")
        assert refused.status_code == 429
        assert "rate-limited this key; retry in" in refused.json()["error"]["message"]
        assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert busy.calls == 1


@pytest.mark.parametrize("wait", ["inf", "nan", "-5", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_pause_that_is_no_number_is_none(connect: Any, busy: Any, wait: str) -> None:
    busy.wait = wait
    line = connect(key_for(busy))
    assert line.ask("a", model="limited").headers["retry-after"] == wait
    line.ask("b")
    assert busy.calls == 2


def test_another_key_does_not_wait(connect: Any, busy: Any) -> None:
    busy.wait = "3600"
    connect(key_for(busy)).ask("a", model="limited")
    assert connect(key_for(busy, ANTHROPIC_API_KEY="k-other")).ask("b").status_code == 200


@pytest.mark.parametrize("text", ["0", "-3", "many", "0.5", "inf", "1e400", "nan"])
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
        await asyncio.sleep(0)
        second, third = (asyncio.create_task(call(name, hold)) for name in ("second", "third"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait({second})
        hold.set()
        await asyncio.wait_for(asyncio.gather(first, third), 60)
        return done

    assert asyncio.run(scene()) == ["first", "third"]


def test_runs_in_threads_of_their_own_share_the_queue(busy: Any, tmp_path: Path) -> None:
    def one_run(number: int) -> list[int]:
        with listen() as listener:
            upstream = key_for(busy, RUNBOOK_MAX_PARALLEL_CALLS="2", ANTHROPIC_API_KEY="k-shared")
            cassette = Cassette(tmp_path / str(number), Redactor({}))
            session = listener.open(upstream=upstream, cassette=cassette, emit=lambda _: None)
            url, headers = "http://{}:{}/v1/messages".format(*listener.address), {"x-api-key": session.token}
            bodies = [{"model": "m", "messages": [{"role": "user", "content": text}]} for text in "abc"]
            return [httpx.post(url, json=body, headers=headers, timeout=60).status_code for body in bodies]

    busy.expected = 2
    with ThreadPoolExecutor(5) as runs:
        assert list(runs.map(one_run, range(5))) == [[200] * 3] * 5
    assert busy.calls == 15
    assert busy.most == 2
