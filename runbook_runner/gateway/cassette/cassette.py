"""Gateway: the cassette, which is the recorded model calls of a run: one line per call, every body once, no secrets.

`index.jsonl` has a line per call, appended and flushed when the call ends; bodies are in `blobs/`. Nothing is written
before known secrets and well-known key patterns were removed from it (contract §9.4).
"""

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FOLDER, private_opener
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.events import Source, Usage
from runbook_runner.core.files import make_folder, read_stream
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import RecordMode
from runbook_runner.gateway.cassette.blobs import BlobFolder, BlobWriter, blob_path
from runbook_runner.gateway.cassette.dedup import DocumentStore, compact
from runbook_runner.gateway.dialects.base import Json

INDEX_FILE: Final = "index.jsonl"
_MOST_INDEX: Final = 64_000_000
MOST_UNPACKED: Final = 1 << 30
"""Bytes of all bodies, each as often as a call names it; see `dedup`."""
_ANSWERS: Final = range(200, 600)
"""The HTTP statuses of answers."""
KEPT_HEADERS: Final = frozenset(
    {
        "anthropic-version",
        "anthropic-beta",
        "user-agent",
        "content-type",
        "x-claude-code-session-id",
        "session-id",
        "openai-beta",
        "x-goog-api-client",
        "retry-after",
        "request-id",
    }
)


def _is_a_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class Body(BaseModel):
    """Where a request's or response's body is."""

    model_config = ConfigDict(frozen=True)

    blob: str
    kind: Literal["json", "text"]
    """`json`: a document as `dedup` stores it; `text`: the text itself, as of an event stream."""
    content_type: str


class RecordedCall(BaseModel):
    """One line of `index.jsonl`."""

    model_config = ConfigDict(frozen=True)

    number: int
    """1-based, in order of arrival; lines are in order of completion."""
    ts: Annotated[str, AfterValidator(_is_a_time)]
    """When the request came in."""
    dialect: str
    operation: str
    path: str
    """With the query string."""
    model: str
    source: Source
    status: int
    """HTTP status the agent got; 0 when the connection broke."""
    seconds: float
    ttfb: float | None = None
    """Seconds until the first byte of the upstream's answer."""
    usage: Usage = Usage()
    stream: bool = False
    side: bool = False
    error: str | None = None
    request_headers: dict[str, str] = {}
    response_headers: dict[str, str] = {}
    request: Body | None = None
    response: Body | None = None


@dataclass(frozen=True)
class Exchange:
    """A recorded call with its bodies; `None` where there was none."""

    call: RecordedCall
    request: Json | None
    response: Any
    """Parsed JSON, or text for anything else."""


class Cassette:
    """The folder `model/` of a trajectory. Thread-safe."""

    def __init__(self, folder: Path, redactor: Redactor, mode: RecordMode = "full", *, most_bytes: int | None = None):
        """most_bytes: on disk; once the calls take more, there are no further ones."""
        self.folder = folder
        self._most = most_bytes
        self._index_bytes = 0
        self._mode = mode
        self._redactor = redactor
        self._hidden: tuple[Redactor, ...] = ()
        self._blobs = BlobFolder(folder / "blobs")
        self._documents = DocumentStore(self._blobs, self.clean_json)
        self._index = folder / INDEX_FILE
        self._lock = threading.Lock()

    def hide(self, name: str, value: str) -> None:
        """Removes one more secret from now on: the run's token is made after the redactor."""
        self._hidden = (*self._hidden, Redactor({name: value}))

    @property
    def keeps_bodies(self) -> bool:
        return self._mode == "full"

    def unfinished(self, text: str) -> bool:
        """See `Redactor.unfinished`."""
        return any(redactor.unfinished(text) for redactor in (self._redactor, *self._hidden))

    def clean(self, text: str) -> str:
        """Returns the text without secrets. It may be a protocol's: its words stay."""
        return self._without_hidden(self._redactor.structured(text))

    def clean_said(self, text: str) -> str:
        """Returns a text that a model wrote without secrets."""
        return self._without_hidden(self._redactor.clean(text))

    def prepare(self) -> None:
        """Raises RecordingError when the folder can't be written to, or is full; called before a provider is asked."""
        if self._most is not None and self._blobs.written + self._index_bytes > self._most:
            message = f"The model calls of this run take more than {self._most >> 20} MB, a share of --disk."
            raise RecordingError(message, where=str(self.folder))
        if not self.keeps_bodies:
            return
        try:
            self._blobs.prepare()
        except OSError as error:
            raise RecordingError(f"Can't record a model call: {error.strerror}.", where=str(self.folder)) from error

    def keep_json(self, document: Any, content_type: str = "application/json") -> Body | None:
        """Stores a JSON body. `None`, as for the next two: this cassette keeps no bodies. Raises RecordingError."""
        if not self.keeps_bodies:
            return None
        return Body(blob=self._documents.put(document), kind="json", content_type=self.clean(content_type))

    def keep_text(self, text: str, content_type: str) -> Body | None:
        return self.keep_cleaned(self.clean(text), content_type)

    def keep_cleaned(self, text: str, content_type: str) -> Body | None:
        """Stores a text from which the secrets have been removed."""
        return self.text_body(self._put_text(text), content_type) if self.keeps_bodies else None

    def writer(self) -> BlobWriter:
        """Returns a writer for a text that is cleaned and stored as it comes."""
        return self._blobs.writer()

    def text_body(self, digest: str, content_type: str) -> Body:
        """Returns the body of a text whose blob has been written."""
        return Body(blob=digest, kind="text", content_type=self.clean(content_type))

    def keep_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self.clean(value) for name, value in headers.items() if name in KEPT_HEADERS}

    def append(self, call: RecordedCall) -> None:
        """Adds the call to the index. Its bodies were kept before. Raises RecordingError."""
        if self._mode == "none":
            return
        cleaned = {"path": self.clean(call.path), "model": self.clean(call.model)}
        if call.error is not None:
            cleaned["error"] = self.clean(call.error)
        line = compact(call.model_copy(update=cleaned).model_dump()) + "\n"
        try:
            with self._lock:
                make_folder(self.folder, FOLDER)
                _append_whole(self._index, line.encode())
                self._index_bytes += len(line)
        except OSError as error:
            where = str(self._index)
            raise RecordingError(f"Can't record a model call: {error.strerror}.", where=where) from error

    def calls(self) -> list[RecordedCall]:
        """Returns all calls by number, without an incomplete last line. Raises InputError for any other bad line."""
        try:
            with open_regular(self._index) as index:
                lines = BytesIO(read_stream(index, str(self._index), "index", _MOST_INDEX))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"Can't read this recording: {error.strerror}.", where=str(self._index)) from error
        whole = ((i, line) for i, line in enumerate(lines, 1) if line.endswith(b"\n"))
        return sorted((self._parse(i, line) for i, line in whole), key=lambda call: call.number)

    def read(self, number: int) -> Exchange:
        """Returns the call of this number with its bodies, without secrets. Raises InputError."""
        for call in self.calls():
            if call.number == number:
                return self.exchange(call)
        raise InputError(f"There is no model call {number} in this recording.", where=str(self._index))

    def exchanges(self, calls: Iterable[RecordedCall]) -> Iterator[Exchange]:
        """Yields these calls with their bodies. Raises InputError as `exchange`, and when it is too much in all."""
        before = self._unpacked
        for call in calls:
            exchange = self.exchange(call)
            if self._unpacked - before > MOST_UNPACKED:
                message = f"This recording takes more than {MOST_UNPACKED >> 20} MB when it is unpacked."
                raise InputError(message, where=str(self.folder))
            yield exchange

    @property
    def _unpacked(self) -> int:
        return self._blobs.unpacked + self._documents.counted

    def exchange(self, call: RecordedCall) -> Exchange:
        """Returns a call with its bodies. Raises InputError when one is missing or was changed, and for a request that
        is no JSON object: the gateway takes no such request."""
        request = self._body(call.request)
        if call.request and not isinstance(request, dict):
            raise InputError(f"The request of model call {call.number} is no JSON object.", where=str(self._index))
        return Exchange(call, request, self.response(call))

    def response(self, call: RecordedCall) -> Any:
        """As `Exchange.response`."""
        return self._body(call.response)

    def pieces(self, body: Body) -> Iterator[bytes]:
        """Returns an encoded text, in bounded memory. Raises InputError before the first piece when it is missing or
        was changed."""
        return self._blobs.pieces(body.blob)

    def _parse(self, number: int, line: bytes) -> RecordedCall:
        try:
            call = RecordedCall.model_validate_json(line)
        except ValidationError as error:
            raise InputError("This is not a recorded model call.", where=f"{self._index}:{number}") from error
        if call.status and call.status not in _ANSWERS:  # after 101, no HTTP follows
            raise InputError(f"No answer has the status {call.status}.", where=f"{self._index}:{number}")
        return call

    def _body(self, body: Body | None) -> Any:
        if body is None:
            return None
        try:
            return self._documents.get(body.blob) if body.kind == "json" else _text(self._blobs.get(body.blob))
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            where = str(blob_path(self.folder / "blobs", body.blob))
            raise InputError(f"A part of this recording is not {body.kind}.", where=where) from error

    def _put_text(self, text: str) -> str:
        return self._blobs.put(text.encode("utf-8", "surrogatepass"))

    def clean_json(self, value: Any) -> Any:
        """Returns the JSON value without secrets."""
        cleaned = self._redactor.json(value)
        text = compact(cleaned)
        cleaned_text = self._without_hidden(text)
        return cleaned if cleaned_text == text else json.loads(cleaned_text)

    def _without_hidden(self, text: str) -> str:
        for redactor in self._hidden:
            text = redactor.known(text)[0]
        return text


def _append_whole(path: Path, line: bytes) -> None:
    """Appends the whole line or nothing: on a full disk, half a line would spoil the next one. Raises OSError."""
    with open(path, "ab", buffering=0, opener=private_opener) as file:
        before = file.tell()
        written = file.write(line)
        if written != len(line):
            file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
