"""What one run, or a program without a token, can cost the model calls of another run in the same process.

    python tests/bench/gateway_floods.py [--seconds 10]

Two runs share a gateway. One asks small questions, one after the other; meanwhile the other sends bodies as large as
they may be, or larger, on several connections at once, or a program without a token sends headers and opens
connections. Figures: p50 and longest time of the small calls, and how much the gateway's resident size grew at most.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import HERE, peak_mb, request, started  # siblings: run as a script, this folder is on the path
from load import Target, ask, one_by_one

LONGEST_MS = 1000.0
GROWTH_MB = 64.0
AT_ONCE = 4


def serve(upstream: str, folder: str) -> None:
    """Runs in a process of its own; see `started`."""
    from runbook_runner.core.redaction import Redactor
    from runbook_runner.gateway import Cassette, listen, provider_from

    provider = provider_from("openai", {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "canary-key-1234567890"})
    said = []
    with contextlib.ExitStack() as opened:
        for name in ("one", "other"):
            listener = opened.enter_context(listen())
            cassette = Cassette(Path(folder) / name, Redactor({"KEY": "canary-key-1234567890"}))
            session = listener.open(upstream=provider, cassette=cassette, emit=lambda _: None)
            said += [str(listener.address[1]), session.token]
        sys.stdout.write(" ".join(said) + "\n")
        sys.stdout.flush()
        time.sleep(3600)


# --- floods --------------------------------------------------------------------------------------------------------

Flood = Callable[[Target], Awaitable[None]]


def bodies(body: Callable[[], bytes]) -> Flood:
    async def flood(target: Target) -> None:
        made = body()
        while True:
            with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
                await ask(target, made)

    return flood


async def headers(target: Target) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx: ")
            for _ in range(100):
                writer.write(b"a" * (1 << 20))
                await writer.drain()


async def connections(target: Target) -> None:
    opened = []
    while True:
        with contextlib.suppress(OSError):
            opened.append(await asyncio.open_connection("127.0.0.1", target.port))
            opened[-1][1].write(b"GET / HTTP/1.1\r\nhost:")
        for _, writer in opened[:-200]:
            writer.close()
        del opened[:-200]


def document(messages: str) -> bytes:
    return f'{{"model": "m", "nonce": {time.time()}, "messages": [{messages}]}}'.encode()


PART = '{"type":"text","text":"x"}'
FLOODS: dict[str, Flood] = {
    "nothing": lambda _: asyncio.sleep(3600),
    "60 MB of numbers (refused)": bodies(lambda: document("1," * (30 << 20) + "1")),
    "1.2 million parts (refused)": bodies(lambda: document(f"{PART}," * 1_200_000 + "1")),
    "300 thousand parts": bodies(lambda: document(f"{PART}," * 300_000 + "1")),
    "60 MB of text": bodies(lambda: document(json.dumps("words " * (10 << 20)))),
    "1300 parts, small": bodies(lambda: document(f"{PART}," * 1300 + "1")),
    "headers without a token": headers,
    "connections without a token": connections,
}


def flooding(name: str, port: str, token: str, pid: str) -> None:
    """Runs in a process of its own, so that its work does not count as the gateway's."""

    async def run() -> None:
        await asyncio.gather(*(FLOODS[name](Target("other", int(port), token, int(pid))) for _ in range(AT_ONCE)))

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--flood", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(*options.serve)
    if options.flood:
        return flooding(*options.flood)
    for name in FLOODS:
        with (
            tempfile.TemporaryDirectory() as folder,
            started(sys.executable, str(HERE / "load.py")) as (_, (port,)),
            started(sys.executable, __file__, "--serve", f"http://127.0.0.1:{port}", folder) as (gateway, said),
        ):
            report(name, gateway.pid, said, options.seconds)
    return None


def report(name: str, pid: int, said: list[str], seconds: float) -> None:
    one_port, one_token, *other = said
    one = Target("one", int(one_port), one_token, pid)
    asyncio.run(one_by_one(one, [request(3)] * 20))
    before = peak_mb(pid)
    with started(sys.executable, __file__, "--flood", name, *other, str(pid)):
        time.sleep(2)  # the first bodies are made and sent
        times = asyncio.run(small_calls(one, seconds))
    grown = peak_mb(pid) - before
    print(f"{name}: {len(times)} small calls, p50 {statistics.median(times):.0f} ms; grew {grown:.0f} MB")
    judge("longest ms", max(times), LONGEST_MS)
    if "without a token" in name:
        judge("growth MB", grown, GROWTH_MB)


def judge(what: str, value: float, target: float) -> None:
    print(f"  {what}: {value:.0f} (target {target:g}: {'met' if value <= target else 'MISSED'})")


async def small_calls(one: Target, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        times += await one_by_one(one, [request(3)])
        await asyncio.sleep(0.01)
    return times


if __name__ == "__main__":
    main()
