"""Trajectory: collected files: secrets are removed before they are written, names and digests are recorded."""

import hashlib
import mimetypes
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from runbook_runner.core import ids
from runbook_runner.core.events import Artifact, Emit, Redacted
from runbook_runner.core.redaction import Redactor

_CHUNK = 1 << 20
_LONGEST_LINE = 64 << 20  # a secret in a line longer than this may be missed
_TEXT_TYPES = {
    ".md": "text/markdown",
    ".jsonl": "application/jsonl",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

Kind = Literal["result", "agent"]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Scrubber:
    """A filter for files on their way into a run's folder. Call it with a file's name and content.

    A result stays byte for byte but for known secret values in text; an agent's own log is cleaned by pattern too
    (contract §9.4). Binary content passes as it is.
    """

    def __init__(self, redactor: Redactor, kind: Kind):
        self._find = redactor.known if kind == "result" else redactor.text
        self.hits: dict[str, Counter[str]] = {}
        """File name → how often each rule hit."""

    def __call__(self, name: str, content: Readable) -> Readable:
        return _Scrubbed(self, name, content)

    def clean(self, name: str, data: bytes) -> bytes:
        text, found = self._find(data.decode("utf-8", "surrogateescape"))
        if found:
            self.hits.setdefault(name, Counter()).update(found)
        return text.encode("utf-8", "surrogateescape")


class _Scrubbed:
    """Returns whole cleaned lines, so that no secret hides across the border of two reads."""

    def __init__(self, scrubber: Scrubber, name: str, content: Readable):
        self._scrubber = scrubber
        self._name = name
        self._content = content
        self._binary: bool | None = None
        self._raw = b""

    def read(self, size: int = _CHUNK, /) -> bytes:
        while True:
            block = self._content.read(max(size, _CHUNK))
            if self._binary is None:
                self._binary = b"\0" in block
            if self._binary:
                return block
            ready, self._raw = self._whole_lines(self._raw + block, last=not block)
            if ready or not block:
                return self._scrubber.clean(self._name, ready)

    @staticmethod
    def _whole_lines(data: bytes, *, last: bool) -> tuple[bytes, bytes]:
        if last or len(data) > _LONGEST_LINE:
            return data, b""
        end = data.rfind(b"\n") + 1
        return data[:end], data[end:]


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
        self._count = 0

    def add(self, kind: Kind, path: str, sandbox_path: str, hits: Counter[str]) -> None:
        """path: below the run's folder, `results/…` or `agent/…`."""
        file = self._folder / path
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self._emit(
            Artifact(
                kind=kind,
                path=path,
                sandbox_path=sandbox_path,
                key=ids.artifact_key(*self._run, "run", self._count, sandbox_path),
                size=file.stat().st_size,
                sha256=digest,
                content_type=content_type(path),
                primary=self._primary.get(path.removeprefix("results/")) if kind == "result" else None,
            )
        )
        self._count += 1
        for rule, count in hits.items():
            self._emit(Redacted(where=path, rule=rule, count=count))


def content_type(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    return _TEXT_TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
