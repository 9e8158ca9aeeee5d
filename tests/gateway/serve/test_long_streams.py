"""Streams of any length: written as they come, in bounded memory, with no gap for a secret where they are cut."""

import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette
from runbook_runner.gateway.cassette.stream import SEGMENT_CHARS, RecordedStream
from runbook_runner.gateway.dialects import DIALECTS, sse

ANTHROPIC = DIALECTS[0]
SECRET = "canary/Zq7 41kD9=="
GITHUB = "ghp_" + "a1B2" * 10
PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpQIBAAKCAQEA\n" * 40 + "-----END RSA PRIVATE KEY-----"
WORDS = ["one", " two", ", three", "\n", "4", " canary", "gh", " -----BEGIN", " ü", '"', " sk"]


def event(text: str, index: int = 0) -> bytes:
    data = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
    return sse.event("content_block_delta", data)


def in_pieces(chance: random.Random, text: str) -> Iterator[str]:
    while text:
        size = chance.randint(1, max(1, len(text) // 2))
        yield text[:size]
        text = text[size:]


def said(stream: str) -> str:
    return "".join(piece.holder[piece.key] for found in sse.objects(stream) for piece in ANTHROPIC.deltas(found))


def recorded(folder: Path, chunks: Iterator[bytes]) -> str:
    cassette = Cassette(folder, Redactor({"TOKEN": SECRET}))
    stream = RecordedStream(ANTHROPIC, cassette)
    for chunk in chunks:
        stream.add(chunk)
    stream.end()
    return str(cassette._body(stream.keep("text/event-stream")))


@pytest.mark.parametrize(
    ("secret", "seed"),
    [(SECRET, 1), (SECRET, 2), (GITHUB, 3), (GITHUB, 4), (PRIVATE, 5)],
    ids=["known", "known-2", "pattern", "pattern-2", "private-key"],
)
def test_secret_in_pieces_is_found_wherever_a_long_stream_is_cut(tmp_path: Path, secret: str, seed: int) -> None:
    """One secret follows another with a few words between, so that cuts fall next to and into them."""
    chance = random.Random(seed)
    pieces, times, size = [], 0, 0
    while size < 5 * SEGMENT_CHARS:
        new = [*chance.choices(WORDS, k=chance.randint(2, 12)), " ", *in_pieces(chance, secret), " "]
        pieces += new
        times += 1
        size += sum(len(event(piece)) for piece in new)
    text = said(recorded(tmp_path, map(event, pieces)))
    marks = Counter(text.split("***"))
    assert secret not in text
    assert secret[5:] not in text
    assert text == "".join(pieces).replace(secret, next(f"***{mark}***" for mark in marks if "REDACTED" in mark))
    assert sum(times for mark, times in marks.items() if mark.startswith("REDACTED:")) == times


def test_long_stream_without_secrets_is_recorded_byte_for_byte(tmp_path: Path) -> None:
    chance = random.Random(5)
    stream = b"".join(event("".join(chance.choices(WORDS, k=3)), index=n % 3) for n in range(20_000)) + b"data: torn"
    cuts = sorted(chance.sample(range(len(stream)), 300))
    chunks = (stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True))
    assert recorded(tmp_path, chunks) == stream.decode()


def test_memory_does_not_grow_with_the_length_of_a_stream(tmp_path: Path) -> None:
    one = event("x" * 1000) * 16
    recorded(tmp_path / "first", iter([one]))
    tracemalloc.start()
    stream = RecordedStream(ANTHROPIC, Cassette(tmp_path / "second", Redactor({"TOKEN": SECRET})))
    for _ in range(1000):
        stream.add(one)
    stream.end()
    assert stream.keep("text/event-stream") is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20, f"{len(one) * 1000 >> 20} MB were streamed"


def test_long_answer_is_on_disk_before_its_end_and_whole_afterwards(
    connect: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake provider drips pings without an end; here they are large."""
    from runbook_runner.gateway import provider_from

    drip = b": " + b"p" * 60_000 + b"\n\n"
    monkeypatch.setattr(fake, "drip", lambda http: [fake.chunk(http, drip) for _ in range(20)] and fake.go_on.wait(20))
    line = connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}))
    got = []
    with line.client.stream("POST", "/v1/messages", json={"model": "endless", "stream": True}) as response:
        for chunk in response.iter_bytes():
            got.append(chunk)
            if sum(map(len, got)) > 1_200_000 and not fake.go_on.is_set():
                assert list((line.cassette.folder / "blobs").glob(".*.part"))
                fake.go_on.set()
    line.settled()
    assert line.cassette.read(1).response == b"".join(got).decode()
    assert line.session.usage.completion_tokens == 42
    assert not list(line.cassette.folder.rglob("*.part"))


def test_long_answer_that_nobody_waits_for_leaves_no_half_written_file(
    connect: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbook_runner.gateway import provider_from

    drip = event("word. " * 10_000)
    monkeypatch.setattr(fake, "drip", lambda http: [fake.chunk(http, drip) for _ in range(100)] and None)
    line = connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}))
    with line.client.stream("POST", "/v1/messages", json={"model": "endless", "stream": True}) as response:
        seen = 0
        for chunk in response.iter_bytes():
            seen += len(chunk)
            if seen > 1_000_000:
                break
    line.settled()
    (call,) = line.cassette.calls()
    assert call.error == "the agent closed the connection"
    assert len(line.cassette.read(1).response) >= seen - 100_000
    assert json.dumps("word. ")[1:-1] in line.cassette.read(1).response
    assert not list(line.cassette.folder.rglob("*.part"))
