"""Gateway: the table of providers: where each is, which key opens it, which APIs it speaks.

What is not in the table is any provider that litellm knows by that name (see `translate`).
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.text import did_you_mean
from runbook_runner.gateway.providers.forward import Credential, Provider
from runbook_runner.gateway.providers.prices import listed_providers, load_prices
from runbook_runner.gateway.providers.rate_limit import pace_from, throttle_for
from runbook_runner.gateway.providers.translate import Target
from runbook_runner.gateway.upstream import Headers

Environ = Mapping[str, str]


@dataclass(frozen=True)
class _Row:
    """One provider. Names of variables come strongest first."""

    base_url: str = ""
    base_names: tuple[str, ...] = ()
    keys: tuple[tuple[str, Credential], ...] = ()
    """The first that is set is the key; its header with it."""
    dialects: tuple[str, ...] = ()
    litellm: str = ""
    """What litellm calls it; empty: the same."""
    litellm_version: str = ""
    """What litellm wants at the end of a base URL."""
    needs_key: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    """Header → variable."""
    options: tuple[tuple[str, str], ...] = ()
    """litellm's option → variable, for providers with more than one key."""


def _local(base_url: str, name: str, litellm: str = "", litellm_version: str = "/v1") -> _Row:
    """A server on one's own machine, with or without a key."""
    return _Row(
        base_url,
        (f"{name}_API_BASE",),
        ((f"{name}_API_KEY", "bearer"),),
        ("openai-chat",),
        litellm,
        litellm_version,
        needs_key=False,
    )


_BEDROCK_OPTIONS: Final = (
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
    ("aws_region_name", "AWS_REGION"),
)

_ROWS: Final[Mapping[str, _Row]] = {
    "anthropic": _Row(
        "https://api.anthropic.com",
        ("ANTHROPIC_BASE_URL",),
        (("ANTHROPIC_API_KEY", "x-api-key"), ("ANTHROPIC_AUTH_TOKEN", "bearer")),
        ("anthropic",),
    ),
    "openai": _Row(
        "https://api.openai.com",
        ("OPENAI_BASE_URL",),
        (("OPENAI_API_KEY", "bearer"),),
        ("openai-responses", "openai-chat"),
        litellm_version="/v1",
    ),
    "google": _Row(
        "https://generativelanguage.googleapis.com",
        ("GOOGLE_GEMINI_BASE_URL",),
        (("GEMINI_API_KEY", "x-goog-api-key"), ("GOOGLE_API_KEY", "x-goog-api-key")),
        ("gemini",),
        litellm="gemini",
    ),
    "openrouter": _Row(
        "https://openrouter.ai/api",
        ("OPENROUTER_BASE_URL",),
        (("OPENROUTER_API_KEY", "bearer"),),
        ("anthropic", "openai-responses", "openai-chat"),
        litellm_version="/v1",
        headers=(("http-referer", "OPENROUTER_HTTP_REFERER"), ("x-title", "OPENROUTER_X_TITLE")),
    ),
    "bedrock": _Row(
        keys=(("AWS_BEARER_TOKEN_BEDROCK", "none"),),
        needs_key=False,
        options=_BEDROCK_OPTIONS,
    ),
    "ollama": _local("http://127.0.0.1:11434", "OLLAMA", litellm="ollama_chat", litellm_version=""),
    "hosted_vllm": _local("http://127.0.0.1:8000", "HOSTED_VLLM"),
    "lm_studio": _local("http://127.0.0.1:1234", "LM_STUDIO"),
    "llamafile": _local("http://127.0.0.1:8080", "LLAMAFILE"),
}
_SAME: Final = {"ollama_chat": "ollama", "vllm": "hosted_vllm", "gemini": "google"}


def provider_from(
    name: str | None, environ: Environ, *, model: str | None = None, dialect: str | None = None
) -> Provider:
    """The provider of this name with its key from the environment. `None`: OpenRouter when its key is there, else
    Anthropic (contract §4.4).

    model: the run's; a translated request asks for this one, whatever it names. dialect: the API the agent speaks.
    Raises NotReadyError without a key, or when a translation is needed and litellm is not installed; InputError for a
    price file or a pace that makes no sense.
    """
    if name is None:
        name = "openrouter" if environ.get("OPENROUTER_API_KEY") else "anthropic"
    name = _SAME.get(name, name)
    row = _ROWS.get(name) or _beyond(name)
    if dialect is not None and dialect not in row.dialects:
        _require_litellm(name, dialect)
    key_name, credential, key = _key(row, environ)
    base_url = _base_url(row, environ)
    prices = environ.get(settings.PRICES_VARIABLE)
    return Provider(
        name=name,
        dialects=frozenset(row.dialects),
        base_url=base_url,
        key_name=key_name,
        key=key,
        credential=credential,
        target=_target(name, row, model, base_url, key, environ),
        throttle=throttle_for(name, base_url, key, pace=pace_from(environ)),
        prices=load_prices(Path(prices) if prices else None),
        extra_headers=_headers(row, environ),
        secrets={variable: environ[variable] for _, variable in row.options if environ.get(variable)},
    )


def known_providers() -> tuple[str, ...]:
    """Names that mean a provider, other spellings included."""
    return tuple(dict.fromkeys((*_ROWS, *_SAME, *listed_providers())))


def _beyond(name: str) -> _Row:
    """A provider that only litellm knows. Where it is and what opens it is litellm's business; a key by the usual name
    is handed over, since it may come from a file."""
    if name not in listed_providers():
        near = did_you_mean(name, (*_ROWS, *listed_providers()))
        hint = f"Known: {', '.join(_ROWS)}, and the providers of litellm."
        raise InputError(f"Unknown provider {name!r}.", hint=f"{near} {hint}" if near else hint)
    return _Row(keys=((f"{name.upper()}_API_KEY", "none"),), needs_key=False)


def _base_url(row: _Row, environ: Environ) -> str:
    """Raises NotReadyError for what is no address of a server."""
    for variable in row.base_names:
        if url := environ.get(variable):
            with suppress(ValueError):
                parts = urlsplit(url)
                extra = parts.query or parts.fragment  # the path of each request comes behind it
                if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not extra:
                    return url
            # Not shown: it may hold a password.
            raise NotReadyError(f"{variable} is no address of a server.", hint="Write it as https://host/path.")
    return row.base_url


def _key(row: _Row, environ: Environ) -> tuple[str, Credential, str]:
    for name, credential in row.keys:
        key = environ.get(name, "").strip()
        if key:
            if not key.isascii() or not key.isprintable():
                hint = "Set it again, from the provider's page."
                raise NotReadyError(f"{name} holds characters that no key has.", hint=hint)
            return name, credential, key
    name = row.keys[0][0]
    if row.needs_key:
        hint = f"Set {' or '.join(name for name, _ in row.keys)}, or answer from a file with --model-script FILE."
        raise NotReadyError(f"There is no key for the model provider: {name} is not set.", hint=hint)
    return name, "none", ""


def _target(name: str, row: _Row, model: str | None, base_url: str, key: str, environ: Environ) -> Target:
    prefix = row.litellm or name
    bare = None if model is None else model.removeprefix(f"{name}/").removeprefix(f"{prefix}/")
    options = {option: environ[variable] for option, variable in row.options if environ.get(variable)}
    if key:
        options["api_key"] = key
    elif row.dialects:
        options["api_key"] = "none"  # a local server asks for none, but litellm's OpenAI client does
    if base_url and (base_url != row.base_url or not row.needs_key):
        version = row.litellm_version
        options["api_base"] = base_url.rstrip("/").removesuffix(version) + version if version else base_url
    return Target(provider=name, prefix=prefix, model=bare, key_name=row.keys[0][0], options=options)


def _headers(row: _Row, environ: Environ) -> Headers:
    return tuple((header, environ[variable]) for header, variable in row.headers if environ.get(variable))


def _require_litellm(provider: str, dialect: str, found: Callable[[str], object] = find_spec) -> None:
    if not found("litellm"):
        raise NotReadyError(
            f"{provider} does not speak the agent's API ({dialect}), and litellm, which translates, is not installed.",
            hint="Install it: pip install 'runbook-runner[litellm]'.",
        )
