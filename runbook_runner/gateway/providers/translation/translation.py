"""Gateway: translates requests, through litellm, for a provider that does not speak the agent's API. The run is told
what a translation leaves out."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from runbook_runner.core.facts.providers import OPENED_OTHERWISE, PROVIDER_KEYS
from runbook_runner.core.facts.spelling import is_address
from runbook_runner.core.redaction import Redactor, looks_secret
from runbook_runner.gateway.dialects.base import Json, readable
from runbook_runner.gateway.dialects.bodies import names_address, unfolds_too_far
from runbook_runner.gateway.providers.http_client import READ_S
from runbook_runner.gateway.providers.keys import without_keys
from runbook_runner.gateway.providers.translation.calls import AnswerIds, CallIds
from runbook_runner.gateway.providers.translation.exchange import CURRENT, Exchange
from runbook_runner.gateway.providers.translation.forms import FORMS, Form
from runbook_runner.gateway.providers.translation.library import in_its_thread, its_loop, load_litellm
from runbook_runner.gateway.providers.translation.prepare import prepared
from runbook_runner.gateway.providers.translation.target import NO_KEY, Target
from runbook_runner.gateway.upstream import (
    Answer,
    GatewayFailure,
    ModelRequest,
    UpstreamBroke,
    error_answer,
    permanent_failure,
    single_chunk,
)

MAX_ERROR_CHARS: Final = 2000
_CONVERSATION: Final = ("messages", "input", "contents", "system", "systemInstruction")
_RETURNED: Final = ("retry-after", "retry-after-ms", "x-should-retry")
_STREAM: Final = (("content-type", "text/event-stream; charset=utf-8"),)
_DOCUMENT: Final = (("content-type", "application/json"),)


class Translation:
    """One session's translated calls."""

    def __init__(self, target: Target):
        self._target = target
        self._reported: set[str] = set()
        self._ids = CallIds()

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        name = self._target.name(request.parsed.model)
        refusal = self._refusal(request, name)
        if refusal is not None:
            yield refusal
            return
        exchange = Exchange(elsewhere=self._target.elsewhere)
        CURRENT.set(exchange)
        try:
            answer: Answer = await in_its_thread(self._translated, request, name, exchange)
            yield replace(answer, body=_from_its_thread(answer.body))
        finally:
            its_loop().call_soon_threadsafe(exchange.close)

    def _refusal(self, request: ModelRequest, name: str) -> Answer | None:
        if request.operation != "generate":
            return error_answer(request.dialect, 404, f"{self._target.provider} does not count tokens here")
        if is_address(name):
            return error_answer(request.dialect, 400, f"{name!r} is an address, not the name of a model")
        if any(names_address(request.json.get(key)) for key in _CONVERSATION):
            problem = "an image or a document is sent as an address, which would be fetched from outside of the sandbox"
            return error_answer(request.dialect, 400, f"{problem}; send its content as base64")
        schemas = FORMS[request.dialect.name].fields.difference(_CONVERSATION)
        if unfolds_too_far([request.json.get(key) for key in schemas]):
            problem = "the definitions in its schemas are too large once they stand where they are named"
            return error_answer(request.dialect, 400, problem)
        return None

    async def _translated(self, request: ModelRequest, name: str, exchange: Exchange) -> Answer:
        """A stream begins with the provider's first event: until then its refusal has a status of its own."""
        form, stream = FORMS[request.dialect.name], request.parsed.stream
        litellm = await asyncio.to_thread(load_litellm)
        try:
            result = await form.call(litellm, {**self._key(litellm, name), **self._body(form, request, name)})
            body = _events(result) if stream else single_chunk(_encoded(result))
            events = self._finished(body)
            first = [event async for event in _until_begun(events, exchange)]
        except Exception as error:  # litellm's own family, and whatever its many adapters raise
            return self._error(request, exchange, error)
        if exchange.failure is not None:
            return self._error(request, exchange, None)
        body = self._rest(request, form, exchange, first, events) if stream else single_chunk(first[0])
        notes, told = self._notes(form, request.json, name), (lambda: exchange.told) if exchange.dialect else None
        return Answer(200, _STREAM if stream else _DOCUMENT, body, answered_by=name, notes=notes, told=told)

    async def _rest(
        self, request: ModelRequest, form: Form, exchange: Exchange, first: list[bytes], events: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The stream. litellm ends one that the provider cut off, or that failed, as if it were whole."""
        for event in first:
            yield event
        try:
            async for event in events:
                if exchange.failure is not None:
                    break
                yield event
        except Exception as error:
            if exchange.failure is None:
                raise UpstreamBroke(self._words(exchange, error)) from error
        if exchange.told.error:
            yield request.dialect.stream_error(exchange.failed_with or 502, self._words(exchange, None))
        elif exchange.failure is not None:
            raise UpstreamBroke(exchange.failure)
        else:
            yield form.end

    async def _finished(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """With ids of calls that are the session's, and without keys."""
        ids = AnswerIds(self._ids)
        async for piece in body:
            yield without_keys(self._target.secrets, ids.numbered(piece))

    # --- the request -----------------------------------------------------------------------------------------------

    def _key(self, litellm: Any, name: str) -> Json:
        """The provider's key as litellm finds it, for a provider that has none by its usual name. Without one litellm
        would take the key of OpenAI or Anthropic to most other providers."""
        if "api_key" in self._target.options or self._target.provider.startswith(OPENED_OTHERWISE):
            return {}
        with suppress(Exception):  # whatever litellm does not know
            key = litellm.get_llm_provider(model=name)[2]
            if key and key not in (os.environ.get(variable) for variable in PROVIDER_KEYS):
                return {"api_key": key}
        return {"api_key": NO_KEY}

    def _body(self, form: Form, request: ModelRequest, name: str) -> Json:
        body = self._ids.number_history(prepared(request.dialect.name, request.json, name))
        known = {key: value for key, value in body.items() if key in form.fields}
        own = {"model": name, "stream": request.parsed.stream, "timeout": READ_S, "num_retries": 0, "max_retries": 0}
        return {**known, **own, **self._target.options}

    def _notes(self, form: Form, body: Json, name: str) -> tuple[str, ...]:
        """What is left out; each is reported once per session."""
        lost = [] if "claude" in name else list(form.losses(body))
        unknown = sorted(body.keys() - form.fields - form.ignored)
        if unknown:
            lost.append(f"the fields {', '.join(unknown)}")
        new = [loss for loss in lost if loss not in self._reported]
        self._reported.update(new)
        return tuple(f"the translation to {name} leaves out {loss}" for loss in new)

    # --- failures --------------------------------------------------------------------------------------------------

    def _error(self, request: ModelRequest, exchange: Exchange, error: Exception | None) -> Answer:
        """The provider's own status and words, where it answered; else litellm's."""
        status = exchange.failed_with or (_status(error) if exchange.failure is None else None) or 502
        said = self._words(exchange, error)
        headers = tuple((name, exchange.headers[name]) for name in _RETURNED if name in exchange.headers)
        document = json.dumps(exchange.error).encode()
        failure = permanent_failure(status, self._target.provider, self._target.key_name, said, document)
        if exchange.lasts:
            failure = GatewayFailure("network", said)
        return error_answer(request.dialect, status, said, failure, headers)

    def _words(self, exchange: Exchange, error: Exception | None) -> str:
        said = exchange.told.error
        if not said and exchange.failure is not None:
            said = f"no answer from {self._target.provider} at {exchange.host}: {exchange.failure}"
        said = said or str(getattr(error, "message", None) or error).partition("\nTraceback (most recent")[0]
        return readable(self._redactor.clean(said), MAX_ERROR_CHARS)

    @cached_property
    def _redactor(self) -> Redactor:
        """For the errors that the agent gets: some quote the key, which litellm may have found in the environment."""
        found = {name: value for name, value in os.environ.items() if looks_secret(name, value)}
        return Redactor(found, self._target.options)


# --- answers -------------------------------------------------------------------------------------------------------


async def _from_its_thread(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await in_its_thread(anext, body, None)) is not None:
        yield chunk


async def _until_begun(events: AsyncIterator[bytes], exchange: Exchange) -> AsyncIterator[bytes]:
    async for event in events:
        yield event
        if exchange.has_begun:
            return


async def _events(result: Any) -> AsyncIterator[bytes]:
    async for chunk in result:
        yield _event(chunk)


def _event(chunk: Any) -> bytes:
    """Some of litellm's adapters yield ready-made events, others objects."""
    if isinstance(chunk, (bytes, str)):
        return chunk.encode() if isinstance(chunk, str) else chunk
    data = _encoded(chunk)
    kind = getattr(chunk, "type", None)
    name = b"event: " + str(getattr(kind, "value", kind)).encode() + b"\n" if kind else b""
    return name + b"data: " + data + b"\n\n"


def _encoded(result: Any) -> bytes:
    if hasattr(result, "model_dump_json"):
        return str(result.model_dump_json(exclude_none=True)).encode()
    return json.dumps(result).encode()


def _status(error: Exception | None) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 400 <= status <= 599 else None
