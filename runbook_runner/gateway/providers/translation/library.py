"""Gateway: litellm, which is heavy and optional: imported with the first call, and kept from what no translation needs:
telemetry, files of the folders above it, connections of its own."""

import asyncio
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from types import ModuleType
from typing import Any

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import part


async def in_its_thread(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Returns what the function returns in litellm's own thread and event loop. Some requests of an agent take it
    quadratic time to translate, which may be hours: the gateway's loop goes on meanwhile, and the thread ends with the
    process."""

    async def there() -> Any:
        return await function(*arguments)

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), its_loop()))


@cache
def its_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="litellm", daemon=True).start()
    return loop


@cache
def load_litellm() -> Any:
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
    _render_no_template()
    _bring_no_server()
    _keep_ids_of_gemini()
    _connect_as_we_do(litellm)
    return litellm


def _render_no_template() -> None:
    """For a model of Replicate and others litellm renders the template of a repository of that name at Hugging Face,
    which may be a stranger's: without one it puts the messages together itself."""
    templates = importlib.import_module("litellm.litellm_core_utils.prompt_templates.huggingface_template_handler")
    for name in ("tokenizer_config", "chat_template_file"):
        setattr(templates, f"get_{name}", lambda _: {"status": "failure"})
        setattr(templates, f"aget_{name}", _no_template)


async def _no_template(_: str) -> Json:
    return {"status": "failure"}


class _NoServer:
    """In the place of `PassThroughEndpointLogging` and `PassThroughStreamingHandler`."""

    @staticmethod
    async def chunk_processor(response: Any, **_: Any) -> AsyncIterator[bytes]:
        async for chunk in response.aiter_bytes():
            yield chunk

    @staticmethod
    async def route_streaming_logging_to_handler(**_: Any) -> None: ...

    @staticmethod
    async def schedule_stream_failure_logging(**_: Any) -> None: ...


def _bring_no_server() -> None:
    """For streams in Anthropic's API litellm imports the part of its server that counts what was used, which needs a
    dozen packages that nothing here does; without them each such stream breaks at its end."""
    for name, member in (
        ("success_handler", "PassThroughEndpointLogging"),
        ("streaming_handler", "PassThroughStreamingHandler"),
    ):
        module = ModuleType(f"litellm.proxy.pass_through_endpoints.{name}")
        setattr(module, member, _NoServer)
        sys.modules[module.__name__] = module


def _keep_ids_of_gemini() -> None:
    """litellm calls each call of Gemini's clients by the name of its tool."""
    adapter = importlib.import_module("litellm.google_genai.adapters.transformation")
    for name, key, kept in (
        ("_genai_tool_call", "functionCall", "id"),
        ("_genai_tool_response", "functionResponse", "tool_call_id"),
    ):
        setattr(adapter, name, _with_id(getattr(adapter, name), key, kept))


def _with_id(convert: Callable[[Any], Any], key: str, kept: str) -> Callable[[Any], Any]:
    def converted(piece: Any) -> Any:
        message, given = convert(piece), part(piece, key).get("id")
        return {**message, kept: given} if message is not None and given else message

    return converted


def _connect_as_we_do(litellm: Any) -> None:
    """litellm's own clients follow redirects, with the key."""
    from runbook_runner.gateway.providers.translation.wire import Wire, WireOfThreads

    handlers = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    handlers.AsyncHTTPHandler.create_async_transport = staticmethod(lambda *_, **__: Wire())
    handlers.AsyncHTTPHandler.create_httpx_proxy_mounts = staticmethod(lambda *_, **__: None)
    litellm.sync_transport = WireOfThreads()
