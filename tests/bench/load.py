"""For the gateway's benchmark: an upstream that costs next to nothing, and a client that costs next to nothing.

Run as a script it is the upstream: a model API that answers at once, in 20 events when asked to stream. The model
`large` streams 50 MB.
"""

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass

PATH = "/v1/chat/completions"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@dataclass(frozen=True)
class Target:
    name: str
    port: int
    token: str
    pid: int
    """Of its process, whose processor time is measured."""


# --- client --------------------------------------------------------------------------------------------------------


async def one_by_one(target: Target, bodies: list[bytes]) -> list[float]:
    """Milliseconds of each call, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    times = []
    for body in bodies:
        began = time.perf_counter()
        await _call(reader, writer, target, body)
        times.append((time.perf_counter() - began) * 1000)
    writer.close()
    return times


async def at_once(target: Target, body: bytes, calls: int, workers: int) -> float:
    """Calls a second."""
    began = time.perf_counter()
    await asyncio.gather(*(one_by_one(target, [body] * (calls // workers)) for _ in range(workers)))
    return calls // workers * workers / (time.perf_counter() - began)


async def ask(target: Target, body: bytes) -> int:
    """One call on a connection of its own; the size of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    try:
        return await _call(reader, writer, target, body)
    finally:
        writer.close()


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, body: bytes) -> int:
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {target.token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if " 200 " not in answer.split("\r\n", 1)[0]:
        raise ValueError(answer)
    length = answer.partition("content-length: ")[2].partition("\r\n")[0]
    if length:
        return len(await reader.readexactly(int(length)))
    total = 0
    while size := int((await reader.readline()).strip() or b"0", 16):
        total += size
        await reader.readexactly(size + 2)
    await reader.readline()
    return total


# --- upstream ------------------------------------------------------------------------------------------------------


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


_WORDS = [_event({"role": "assistant", "content": f"word {n} "}) for n in range(18)]
_LAST = _event({}, "stop") + b"data: " + json.dumps(
    {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE}
).encode() + b"\n\ndata: [DONE]\n\n"  # fmt: skip
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_STREAM = b"".join(map(_chunk, [*_WORDS, _LAST])) + b"0\r\n\r\n"
# A text that ends with a letter may be the beginning of the run's random token, and is then kept until it is not.
_LARGE = _chunk(_event({"content": "x" * 1999 + " "}) * 32)
_MESSAGE = {"role": "assistant", "content": "word " * 20}
_PLAIN = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
                     "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}]}).encode()  # fmt: skip
_PLAIN_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_PLAIN)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"post"):  # the proxy looks at its upstream
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                continue
            body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            if b'"large"' in body[:40]:
                writer.write(_STREAM_HEAD)
                for _ in range(50 * 2**20 // len(_LARGE)):
                    writer.write(_LARGE)
                    await writer.drain()
                writer.write(_chunk(_LAST) + b"0\r\n\r\n")
            elif b'"stream": true' in body[:60] or b'"stream":true' in body:
                writer.write(_STREAM_HEAD + _STREAM)
            else:
                writer.write(_PLAIN_HEAD + _PLAIN)
            await writer.drain()
    writer.close()


async def _upstream() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=1 << 26)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_upstream())
