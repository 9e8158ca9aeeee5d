"""Collected files: secrets go on the way in; everything else stays byte for byte."""

import base64
import gzip
import io
import zlib
from pathlib import Path

import pytest

from runbook_runner.core import ids
from runbook_runner.core.events import Artifact, Event, Redacted
from runbook_runner.core.redaction import Redactor
from runbook_runner.trajectory import artifacts
from runbook_runner.trajectory.artifacts import ArtifactLog, Scrubber, content_type

SECRET = "hunter2-hunter2"


def through(data: bytes, kind: str = "result", size: int = 100) -> tuple[bytes, Scrubber]:
    scrubber = Scrubber(Redactor({"PASS": SECRET}), kind)  # type: ignore[arg-type]
    stream, out = scrubber("f", io.BytesIO(data)), b""
    while block := stream.read(size):
        out += block
    return out, scrubber


@pytest.mark.parametrize(
    "data", [b"", b"plain\n", b"no line end", b"\xff\xfe not utf-8 \xe9\n", b"a\r\nb\r\n", b"x" * 3_000_000]
)
def test_a_file_without_secrets_stays_byte_for_byte(data: bytes) -> None:
    assert through(data)[0] == data


def test_a_secret_goes_wherever_a_read_ends() -> None:
    for before in (0, (1 << 20) - 8, (1 << 20) - 1, 3_000_000):
        out, scrubber = through(b"." * before + SECRET.encode() + b"\nrest\n")
        assert SECRET.encode() not in out
        assert out.endswith(b"***REDACTED:PASS***\nrest\n")
        assert scrubber.hits["f"]["PASS"] == 1


def test_a_binary_file_keeps_its_length() -> None:
    for before in (0, (1 << 20) - 8, 3_000_000):
        out, scrubber = through(b"\0\1" + b"." * before + SECRET.encode() + b"\0" + SECRET.encode("utf-16-le") + b"end")
        assert out == b"\0\1" + b"." * before + b"*" * len(SECRET) + b"\0" + b"*\0" * len(SECRET) + b"end"
        assert scrubber.hits["f"]["PASS"] == 2


def test_encoded_text_in_lines_goes_wherever_a_read_ends() -> None:
    encoded = b"\n".join(base64.b64encode(SECRET.encode())[n : n + 4] for n in range(0, 20, 4))
    for before in range((1 << 20) - 30, (1 << 20) + 2):
        out, _ = through(b"." * before + b"\n" + encoded + b"\nrest\n")
        assert out == b"." * before + b"\n***REDACTED:PASS***\nrest\n"


def test_a_line_without_end_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_LONGEST_LINE", 2 << 20)
    data = (b"." * 999_990 + SECRET.encode()) * 9
    assert through(data)[0] == data.replace(SECRET.encode(), b"***REDACTED:PASS***")


def test_packed_files_are_named() -> None:
    for packed in (gzip.compress(b"x"), *(zlib.compress(b"x", level) for level in (1, 6, 9))):
        assert through(packed)[1].unsearched == ["f"]
    assert through(b"plain")[1].unsearched == []


def test_only_an_agents_own_log_is_cleaned_by_pattern() -> None:
    key = b"sk-ant-" + b"a" * 40
    assert through(key)[0] == key
    assert through(key, "agent")[0] == b"***REDACTED:anthropic-key***"


def test_each_file_gets_the_next_number_and_the_contracts_name(tmp_path: Path) -> None:
    events: list[Event] = []
    log = ArtifactLog(
        tmp_path, collection="acme", task="t", trajectory_id="bb2bb71e", primary=["b.md"], emit=events.append
    )
    (tmp_path / "results").mkdir()
    for name in ("a.b.json", "b.md"):
        (tmp_path / "results" / name).write_bytes(b"12345")
    _, scrubber = through(SECRET.encode())
    log.add("result", "results/a.b.json", "/app/results/a.b.json", scrubber.hits["f"])
    log.add("result", "results/b.md", "/app/results/b.md", scrubber.hits["f"].__class__())
    first, redacted, second = events
    assert isinstance(first, Artifact)
    assert isinstance(second, Artifact)
    assert first.key == "acme/t/0000/bb2bb71e.run.0000.app--results--a-b.json"
    assert second.key == "acme/t/0000/bb2bb71e.run.0001.app--results--b.md"
    assert (first.size, first.primary, second.primary) == (5, None, 0)
    assert redacted == Redacted(where="results/a.b.json", rule="PASS", count=1)


@pytest.mark.parametrize(("path", "name"), [
    ("/app/results/output.md", "app--results--output.md"),
    ("/app/results/outputs/chart.png", "app--results--outputs--chart.png"),
    ("/logs/agent/session.jsonl", "logs--agent--session.jsonl"),
    ("/app/results/a.b.json", "app--results--a-b.json"),
    ("/app/results/v1.0/x", "app--results--v1-0--x"),
    ("/app/results/.env", "app--results---env"),
])  # fmt: skip
def test_stored_names_are_the_contracts(path: str, name: str) -> None:
    assert ids.artifact_name(path) == name


def test_content_types_a_reader_expects() -> None:
    assert content_type("a.md") == "text/markdown"
    assert content_type("a.json") == "application/json"
    assert content_type("a.unknownthing") == "application/octet-stream"
