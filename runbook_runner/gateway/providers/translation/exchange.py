"""Gateway: what one translated call asked its provider, and what came back in the provider's own words.

litellm tells status, headers, usage and the end of a stream in its own way, or not at all.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from runbook_runner.gateway.dialects import DIALECTS
from runbook_runner.gateway.dialects.base import NO_EVENTS, Dialect, Json, ParsedResponse
from runbook_runner.gateway.dialects.bodies import document, error_message, part
from runbook_runner.gateway.dialects.sse import EventReader, parse
from runbook_runner.gateway.providers.http_client import read_body
from runbook_runner.gateway.providers.translation.repair import AnswerRepair
from runbook_runner.gateway.upstream import UpstreamBroke

if TYPE_CHECKING:
    import aiohttp

_PATHS: Final[Mapping[str, str]] = {
    "/messages": "anthropic",
    "/chat/completions": "openai-chat",
    "/responses": "openai-responses",
    ":streamGenerateContent": "gemini",
    ":generateContent": "gemini",
}
"""How the path of a request ends → the API that is spoken there."""


_STATUS_OF: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "server_error": 500,
    "api_error": 500,
    "overloaded_error": 529,
}
"""What errors in a stream are called → the status that they would have had before it."""


@dataclass
class Exchange:
    """Of the last request that litellm made for the call: it may ask for a model's facts first."""

    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Where it may not go: host → the provider that is there. For one that needs an address and has none, litellm asks
    OpenAI."""
    host: str = ""
    dialect: Dialect | None = None
    """`None`: an API that the gateway does not read."""
    status: int = 0
    """0: no answer has come."""
    headers: Mapping[str, str] = field(default_factory=dict)
    told: ParsedResponse = NO_EVENTS
    """The answer so far, as the provider itself gave it."""
    has_begun: bool = False
    """The first event of the answer has come."""
    problem: str | None = None
    """Why there is no answer, or no whole one."""
    lasts: bool = False
    """Who asks again has the same problem."""
    error: Json = field(default_factory=dict)
    """The event or document in which the provider reports its failure."""
    _ended: bool = False
    _responses: "list[aiohttp.ClientResponse]" = field(default_factory=list)

    @property
    def failure(self) -> str | None:
        """Why this is not a whole answer, or not one of a model; `None` as long as it may be."""
        told = self.told
        cut = self._ended and self.dialect is not None and not (told.complete or told.may_end)
        refused = f"it answers with HTTP {self.status}" if self.status >= 400 else None
        return told.error or self.problem or refused or ("the stream ended before the answer did" if cut else None)

    @property
    def failed_with(self) -> int | None:
        """The status of the failure; `None` when the provider gave none."""
        if self.status >= 400:
            return self.status
        error = part(self.error, "error")
        named = (error.get("code"), _STATUS_OF.get(str(error.get("type"))))
        return next((status for status in named if type(status) is int and 400 <= status <= 599), None)

    def asked(self, host: str, path: str) -> None:
        spoken = next((name for end, name in _PATHS.items() if path.endswith(end)), None)
        self.host, self.dialect = host, next((known for known in DIALECTS if known.name == spoken), None)
        self.status, self.headers, self.problem, self.lasts, self.told = 0, {}, None, False, NO_EVENTS

    def answered(self, response: "aiohttp.ClientResponse") -> None:
        self._responses.append(response)
        self.status, self.headers = response.status, {name.lower(): text for name, text in response.headers.items()}

    async def read(self, response: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
        """Yields the body. A stream comes as events in their plainest form: litellm reads lines, and takes a comment
        for the end."""
        is_stream = self.headers.get("content-type", "").startswith("text/event-stream")
        pieces = self._events(response, self.dialect) if is_stream and self.dialect else self._pieces(response)
        try:
            async for piece in pieces:
                self.has_begun = True
                yield piece
        except UpstreamBroke as error:
            self.problem = str(error)
            raise
        self._ended = is_stream

    async def _pieces(self, response: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
        """A whole answer in an API that the gateway reads comes in one piece."""
        if self.dialect is None and self.status < 400:
            async for chunk in read_body(response):
                yield chunk
            return
        body = b"".join([chunk async for chunk in read_body(response)])
        found = document(body)
        if self.dialect is not None:
            self.told = self.dialect.parse_response(body)
            body = json.dumps(found).encode() if AnswerRepair(self.dialect.name).changes(found) else body
        self._note_error(found)
        yield body

    async def _events(self, response: "aiohttp.ClientResponse", dialect: Dialect) -> AsyncIterator[bytes]:
        reader, repair = EventReader(), AnswerRepair(dialect.name)
        async for chunk in read_body(response):
            for name, text in reader.feed(chunk):
                yield self._event(dialect, repair, name, text)
        for name, text in reader.end():
            yield self._event(dialect, repair, name, text)

    def _event(self, dialect: Dialect, repair: AnswerRepair, name: str, text: str) -> bytes:
        found = parse(f"data: {text}")
        if found is not None:
            self.told = dialect.add_event(self.told, found)
            self._note_error(found)
            text = json.dumps(found) if repair.changes(found) else text
        return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()

    def _note_error(self, data: Any) -> None:
        message = error_message(data)
        if message and not self.error:
            self.error, self.told = data, replace(self.told, error=self.told.error or message)

    def close(self) -> None:
        """Ends the call at the provider, whether its answer was read to the end or not."""
        for response in self._responses:
            with suppress(Exception):
                response.close()


CURRENT: Final[ContextVar[Exchange]] = ContextVar("exchange")
"""Of the call that this task, or the one that started it, is making."""
