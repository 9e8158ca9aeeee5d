"""Trajectory: collected files: secrets are removed before they are written, names and digests are recorded."""

import hashlib
import mimetypes
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from runbook_runner.core import ids
from runbook_runner.core.events import Artifact, Emit, Redacted
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.redaction.redactor import is_json, same_length, with_marks, without_patterns
from runbook_runner.core.text import printable_name

_CHUNK = 1 << 20
_LONGEST_LINE = 64 << 20  # a secret in a line longer than this may be missed
_TEXT_TYPES = {
    ".md": "text/markdown",
    ".jsonl": "application/jsonl",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

_JSON = frozenset({".json", ".jsonl", ".ndjson", ".ipynb", ".geojson", ".sarif", ".har"})
_LOOK_BACK = 16  # bytes: no spelling looks back further
_PACKED = (
    *(
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!",
        b"\x04\x22\x4d\x18",
    ),
    *(b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"wOF2", b"PAR1", b"Obj\x01", b"\x89HDF"),
    *(b"x\x01", b"x\x9c", b"x\xda", b"PACK\0\0\0", b"wOFF"),  # zlib, and what git makes with it
    *(b"age-encryption.org/", b"Salted__", b"-----BEGIN PGP MESSAGE"),
)
"""How files begin whose content is compressed or encrypted."""

_MOST_TOLD = 20
Kind = Literal["result", "agent"]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Scrubber:
    """A filter for files on their way into a run's folder. Call it with a file's name and content.

    A result stays byte for byte but for known secret values; an agent's own log is cleaned by pattern too (contract
    §9.4). A binary file keeps its length. What is packed or encrypted can't be searched, and is named.
    """

    def __init__(self, redactor: Redactor, kind: Kind, *, strong: bool = False):
        """strong: values that may be ordinary words are not looked for."""
        self.redactor = redactor
        self.strong = strong
        self.by_pattern = kind == "agent"
        self.hits: dict[str, Counter[str]] = {}
        """File name → how often each rule hit."""
        self.names: Counter[str] = Counter()
        """How often each rule hit in the names of files and folders."""
        self.unsearched: list[str] = []
        """Names of files whose content is packed or encrypted."""

    def name(self, name: str) -> str:
        clean, hits = self.redactor.name(name)
        self.names.update(hits)
        return clean

    def __call__(self, name: str, content: Readable) -> Readable:
        return _Scrubbed(self, name, content)


class _Scrubbed:
    """Returns cleaned pieces, none of which ends where a secret may go on."""

    def __init__(self, scrubber: Scrubber, name: str, content: Readable):
        self._scrubber = scrubber
        self._redactor = scrubber.redactor
        self._name = name
        self._content = content
        self._binary: bool | None = None
        self._json = False
        self._raw = bytearray()
        self._begin = 0
        """What stands before it in `_raw` was returned, and is only looked back at."""

    def read(self, size: int = _CHUNK, /) -> bytes:
        while True:
            block = self._content.read(max(size, _CHUNK))
            if self._binary is None:
                self._look(block)
            self._raw += block
            cut = self._cut() if block else len(self._raw)
            if cut > self._begin or not block:
                return self._take(cut)

    def _look(self, block: bytes) -> None:
        self._binary = b"\0" in block
        self._json = PurePosixPath(self._name).suffix.lower() in _JSON or is_json(block)
        if block.startswith(_PACKED):
            self._scrubber.unsearched.append(self._name)

    def _cut(self) -> int:
        """Where a piece may end: in a text after a line, unless it is endless."""
        end = len(self._raw) - self._redactor.reach
        if self._binary or len(self._raw) > _LONGEST_LINE:
            return end
        return self._raw.rfind(b"\n", self._begin, max(end, 0)) + 1

    def _take(self, cut: int) -> bytes:
        data = bytes(self._raw)
        spans = self._redactor.spans(
            data, strong=self._scrubber.strong, json=self._json and not self._binary, begin=self._begin
        )
        cut = next((span.end for span in spans if span.start < cut < span.end), cut)
        spans = [
            span._replace(start=span.start - self._begin, end=span.end - self._begin)
            for span in spans
            if span.end <= cut
        ]
        piece = data[self._begin : cut]
        hits = Counter(span.name for span in spans)
        piece = same_length(piece, spans) if self._binary else with_marks(piece, spans)
        if self._scrubber.by_pattern and not self._binary:
            text = without_patterns(piece.decode("utf-8", "surrogateescape"), hits)
            piece = text.encode("utf-8", "surrogateescape")
        if hits:
            self._scrubber.hits.setdefault(self._name, Counter()).update(hits)
        keep = 0 if data[:cut].endswith(b"\n") else min(cut, _LOOK_BACK)
        self._raw, self._begin = self._raw[cut - keep :], keep
        return piece


def unsearched_told(names: Sequence[str]) -> str:
    named = ", ".join(printable_name(name) for name in names[:_MOST_TOLD])
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return f"Packed or encrypted, so not searched for secrets: {named}{more}."


class ArtifactLog:
    """Records collected files as events; numbers them in the order they come."""

    def __init__(
        self, folder: Path, *, collection: str, task: str, trajectory_id: str, primary: Iterable[str], emit: Emit
    ):
        """folder: the run's. primary: paths of the headline results, most important first."""
        self._folder = folder
        self._run = (collection, task, trajectory_id)
        self._primary = {path: position for position, path in enumerate(primary)}
        self._emit = emit
        self._numbers: dict[str, int] = {}

    @property
    def paths(self) -> Collection[str]:
        """Of what was recorded."""
        return self._numbers.keys()

    def add(self, kind: Kind, path: str, sandbox_path: str, hits: Counter[str]) -> None:
        """path: below the run's folder, `results/…` or `agent/…`. One that is known already has a new content."""
        file = self._folder / path
        number = self._numbers.setdefault(path, len(self._numbers))
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self._emit(
            Artifact(
                kind=kind,
                path=path,
                sandbox_path=sandbox_path,
                key=ids.artifact_key(*self._run, "run", number, sandbox_path),
                size=file.stat().st_size,
                sha256=digest,
                content_type=content_type(path),
                primary=self._primary.get(path.removeprefix("results/")) if kind == "result" else None,
            )
        )
        for rule, count in hits.items():
            self._emit(Redacted(where=path, rule=rule, count=count))


def content_type(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    return _TEXT_TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
