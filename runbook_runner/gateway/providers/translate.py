"""Gateway: translates requests, through litellm, for a provider that does not speak the agent's API.

litellm is heavy and optional: it is imported with the first call, and prevented from fetching a price list. The run is
told what a translation leaves out.
"""

import asyncio
import importlib
import json
import logging
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Final

from runbook_runner.core.facts.providers import OPENED_OTHERWISE, PROVIDER_KEYS
from runbook_runner.core.facts.spelling import is_address
from runbook_runner.core.redaction import Redactor, looks_secret
from runbook_runner.gateway.dialects.base import Json, readable
from runbook_runner.gateway.dialects.bodies import items, names_address, part
from runbook_runner.gateway.upstream import (
    Answer,
    ModelRequest,
    UpstreamBroke,
    error_answer,
    permanent_failure,
    single_chunk,
)

READ_S: Final = 900.0
MAX_ERROR_CHARS: Final = 2000
_CONVERSATION: Final = ("messages", "input", "contents", "system", "systemInstruction")


@dataclass(frozen=True)
class Target:
    """A model and its provider, as litellm names them."""

    provider: str
    prefix: str
    """litellm's name of the provider."""
    model: str | None
    """`None`: the one that the request names."""
    key_name: str
    options: Mapping[str, str] = field(repr=False)
    """Key, base URL and the like."""

    def name(self, asked: str) -> str:
        return f"{self.prefix}/{self.model or asked.removeprefix(f'{self.prefix}/')}"


@dataclass(frozen=True)
class _Form:
    """How litellm takes the requests of one API."""

    call: Callable[[Any, Json], Awaitable[Any]]
    fields: frozenset[str]
    """Fields that it can pass on; others are left out."""
    ignored: frozenset[str]
    """Fields that may be left out without a note."""
    losses: Callable[[Json], Iterator[str]]
    end: bytes = b""
    """After the last event of a stream."""


class Translation:
    """One session's translated calls."""

    def __init__(self, target: Target):
        self._target = target
        self._reported: set[str] = set()

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        form = _FORMS[request.dialect.name]
        if request.operation != "generate":
            yield error_answer(request.dialect, 404, f"{self._target.provider} does not count tokens here")
            return
        name = self._target.name(request.parsed.model)
        if is_address(name):
            yield error_answer(request.dialect, 400, f"{name!r} is an address, not the name of a model")
            return
        if any(names_address(request.json.get(key)) for key in _CONVERSATION):
            problem = "an image or a document is sent as an address, which would be fetched from outside of the sandbox"
            yield error_answer(request.dialect, 400, f"{problem}; send its content as base64")
            return
        litellm = await asyncio.to_thread(_litellm)
        try:
            result = await form.call(litellm, {**self._key(litellm, name), **self._body(form, request, name)})
        except Exception as error:  # litellm's own family, and whatever its many adapters raise
            yield self._error(request, error)
            return
        notes = self._notes(form, request.json, name)
        if request.parsed.stream:
            headers = (("content-type", "text/event-stream; charset=utf-8"),)
            yield Answer(200, headers, _events(result, form.end), answered_by=name, notes=notes)
        else:
            headers = (("content-type", "application/json"),)
            yield Answer(200, headers, single_chunk(_encoded(result)), answered_by=name, notes=notes)

    def _key(self, litellm: Any, name: str) -> Json:
        """The provider's key as litellm finds it, for a provider that has none by its usual name. Without one litellm
        would take the key of OpenAI or Anthropic to most other providers."""
        if "api_key" in self._target.options or self._target.provider.startswith(OPENED_OTHERWISE):
            return {}
        with suppress(Exception):  # whatever litellm does not know
            key = litellm.get_llm_provider(model=name)[2]
            if key and key not in (os.environ.get(variable) for variable in PROVIDER_KEYS):
                return {"api_key": key}
        return {"api_key": "none"}

    def _body(self, form: _Form, request: ModelRequest, name: str) -> Json:
        known = {key: value for key, value in request.json.items() if key in form.fields}
        own = {"model": name, "stream": request.parsed.stream, "timeout": READ_S, "num_retries": 0, "max_retries": 0}
        return {**known, **own, **self._target.options}

    def _notes(self, form: _Form, body: Json, name: str) -> tuple[str, ...]:
        """What is left out; each is reported once per session."""
        lost = [] if "claude" in name else list(form.losses(body))
        unknown = sorted(body.keys() - form.fields - form.ignored)
        if unknown:
            lost.append(f"the fields {', '.join(unknown)}")
        new = [loss for loss in lost if loss not in self._reported]
        self._reported.update(new)
        return tuple(f"the translation to {name} leaves out {loss}" for loss in new)

    @cached_property
    def _redactor(self) -> Redactor:
        """For the errors that the agent gets: some quote the key, which litellm may have found in the environment."""
        found = {name: value for name, value in os.environ.items() if looks_secret(name, value)}
        return Redactor(found, self._target.options)

    def _error(self, request: ModelRequest, error: Exception) -> Answer:
        """litellm's errors have the status that the provider answered with."""
        status = getattr(error, "status_code", None)
        status = status if isinstance(status, int) and 400 <= status <= 599 else 502
        said = readable(self._redactor.clean(str(getattr(error, "message", None) or error)), MAX_ERROR_CHARS)
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        wait = headers.get("retry-after")
        retry_after = (("retry-after", str(wait)),) if wait else ()
        failure = permanent_failure(status, self._target.provider, self._target.key_name, said)
        return error_answer(request.dialect, status, said, failure, retry_after)


@cache
def _litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a price list while it is imported
    os.environ.setdefault("LITELLM_LOG", "CRITICAL")
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # else it reads a .env of the folders above its own: of a clone, maybe
    warnings.filterwarnings("ignore", message=".*ReadOnly.*", category=UserWarning)  # of litellm's own types
    litellm: Any = importlib.import_module("litellm")
    litellm.drop_params = True
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are reported as events
    # For a model of Replicate and others it renders the template of a repository of that name at Hugging Face, which
    # may be a stranger's: without one it puts the messages together itself.
    templates = importlib.import_module("litellm.litellm_core_utils.prompt_templates.huggingface_template_handler")
    for name in ("tokenizer_config", "chat_template_file"):
        setattr(templates, f"get_{name}", lambda _: {"status": "failure"})
        setattr(templates, f"aget_{name}", _no_template)
    return litellm


async def _no_template(_: str) -> Json:
    return {"status": "failure"}


# --- answers -------------------------------------------------------------------------------------------------------


async def _events(result: Any, end: bytes) -> AsyncIterator[bytes]:
    try:
        async for chunk in result:
            yield _event(chunk)
        if end:
            yield end
    except Exception as error:
        raise UpstreamBroke(readable(error, MAX_ERROR_CHARS)) from error


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


# --- requests ------------------------------------------------------------------------------------------------------


def _anthropic(litellm: Any, body: Json) -> Awaitable[Any]:
    answer: Awaitable[Any] = litellm.anthropic.messages.acreate(**{"max_tokens": 4096, **body})
    return answer


def _responses(litellm: Any, body: Json) -> Awaitable[Any]:
    tools = [tool for tool in items(body, "tools") if _is_function(tool)]
    answer: Awaitable[Any] = litellm.aresponses(**{**body, "tools": tools or None})
    return answer


def _chat(litellm: Any, body: Json) -> Awaitable[Any]:
    answer: Awaitable[Any] = litellm.acompletion(**body)
    return answer


def _gemini(litellm: Any, body: Json) -> Awaitable[Any]:
    stream = body.pop("stream")
    config = body.pop("generationConfig", None)
    call = litellm.google_genai.agenerate_content_stream if stream else litellm.google_genai.agenerate_content
    answer: Awaitable[Any] = call(**body, config=config)
    return answer


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function"


def _anthropic_losses(body: Json) -> Iterator[str]:
    text = json.dumps([body.get("system"), body.get("messages"), body.get("tools")])
    if '"cache_control"' in text:
        yield "cache control"
    if '"type": "thinking"' in text or '"type": "redacted_thinking"' in text:
        yield "the thinking of earlier turns"
    server = [str(tool.get("name")) for tool in items(body, "tools") if isinstance(tool, dict) and "type" in tool]
    named = [str(tool.get("type")) for tool in items(body, "tools") if isinstance(tool, dict) and "type" in tool]
    if any(kind != "custom" for kind in named):
        yield f"the provider's own tools ({', '.join(server)})"


def _responses_losses(body: Json) -> Iterator[str]:
    other = [tool for tool in items(body, "tools") if not _is_function(tool)]
    if other:
        names = (str(tool.get("name") or tool.get("type")) if isinstance(tool, dict) else "?" for tool in other)
        yield f"the tools that are not functions ({', '.join(names)})"
    if any(isinstance(item, dict) and item.get("type") == "reasoning" for item in items(body, "input")):
        yield "the reasoning of earlier turns"


def _gemini_losses(body: Json) -> Iterator[str]:
    if '"thoughtSignature"' in json.dumps(items(body, "contents")):
        yield "the thoughts of earlier turns"
    if part(part(body, "generationConfig"), "thinkingConfig"):
        yield "the thinking budget"


def _no_losses(body: Json) -> Iterator[str]:
    yield from ()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FORMS: Final[Mapping[str, _Form]] = {
    "anthropic": _Form(
        _anthropic,
        _names("max_tokens messages stop_sequences system temperature thinking tool_choice tools top_k top_p"),
        _names("model stream metadata"),
        _anthropic_losses,
    ),
    "openai-responses": _Form(
        _responses,
        _names(
            "input instructions max_output_tokens parallel_tool_calls reasoning temperature text tool_choice tools "
            "top_p"
        ),
        _names("model stream store include prompt_cache_key client_metadata metadata user safety_identifier"),
        _responses_losses,
    ),
    "openai-chat": _Form(
        _chat,
        _names(
            "messages tools tool_choice parallel_tool_calls temperature top_p max_tokens max_completion_tokens stop "
            "seed response_format reasoning_effort stream_options frequency_penalty presence_penalty n "
            "logprobs top_logprobs"
        ),
        _names("model stream user store metadata prompt_cache_key"),
        _no_losses,
        end=b"data: [DONE]\n\n",
    ),
    "gemini": _Form(
        _gemini,
        _names("contents tools toolConfig systemInstruction generationConfig"),
        _names("model safetySettings"),
        _gemini_losses,
    ),
}
