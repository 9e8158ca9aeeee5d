"""Core: the table of model providers: which variables hold a provider's key, where it is, which APIs it speaks, whose
models it serves and how it spells their names.

Every room reads the facts about a provider here. A provider without a row is one that only litellm knows; the price
table lists those. `runbook check` imports this module, so it must stay quick to import.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from runbook_runner.core.facts import spelling

ROUTER: Final = "openrouter"
"""Serves the models of all makers."""
KeyHeader = Literal["bearer", "x-api-key", "x-goog-api-key", "none"]
"""Which header a key goes in."""


class ProviderFacts(NamedTuple):
    """One row of the table. Where several variables are named, the first that is set counts."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names that mean this provider."""

    # --- keys and address ---
    keys: tuple[tuple[str, KeyHeader], ...] = ()
    """(variable, header)."""
    other_keys: tuple[str, ...] = ()
    """Variables of keys that the gateway can't use; they stay out of sandboxes all the same."""
    needs_key: bool = True
    is_local: bool = False
    """It is a server on the user's own machine."""
    base_url: str = ""
    base_variables: tuple[str, ...] = ()
    """Variables that replace `base_url`."""
    headers: tuple[tuple[str, str], ...] = ()
    """(header, variable): sent with each request when the variable is set."""

    # --- APIs ---
    dialects: tuple[str, ...] = ()
    """The APIs it speaks itself; requests in another one are translated by litellm."""
    litellm: str = ""
    """litellm's name for it; empty: the same."""
    litellm_version: str = ""
    """What litellm expects at the end of a base URL."""
    litellm_options: tuple[tuple[str, str], ...] = ()
    """(litellm's option, variable), for providers with more than one key."""
    price_names: tuple[str, ...] = ()
    """Its names in litellm's price table; empty: the same."""

    # --- models ---
    makers: tuple[str, ...] = ()
    """Names of the providers whose own models it serves; empty: models of any maker."""
    model_prefix: str = ""
    """How the names of the models that it makes begin; empty: it makes none."""
    spell: Callable[[str], str | None] | None = None
    """Returns its spelling of a model, `None` when there is no unambiguous one. A provider without this function takes
    any name, with its own name in front removed."""
    spelling_hint: str = ""
    """How to write a model's name for it."""
    key_selects: bool = False
    """An agent that can use it does so, whatever its own provider is, when the key is set."""

    @property
    def key_variables(self) -> frozenset[str]:
        """Every variable that opens it."""
        return frozenset((*dict(self.keys), *self.other_keys))


def _local(name: str, base_url: str, *aliases: str, litellm: str = "", version: str = "/v1") -> ProviderFacts:
    variables = name.upper()
    return ProviderFacts(
        name,
        aliases,
        keys=((f"{variables}_API_KEY", "bearer"),),
        needs_key=False,
        is_local=True,
        base_url=base_url,
        base_variables=(f"{variables}_API_BASE",),
        dialects=("openai-chat",),
        litellm=litellm,
        litellm_version=version,
    )


_ROWS: Final = (
    ProviderFacts(
        "anthropic",
        keys=(("ANTHROPIC_API_KEY", "x-api-key"), ("ANTHROPIC_AUTH_TOKEN", "bearer")),
        other_keys=("CLAUDE_CODE_OAUTH_TOKEN",),
        base_url="https://api.anthropic.com",
        base_variables=("ANTHROPIC_BASE_URL",),
        dialects=("anthropic",),
        makers=("anthropic",),
        model_prefix="claude-",
        spell=spelling.for_anthropic,
    ),
    ProviderFacts(
        "openai",
        keys=(("OPENAI_API_KEY", "bearer"),),
        base_url="https://api.openai.com",
        base_variables=("OPENAI_BASE_URL",),
        dialects=("openai-responses", "openai-chat"),
        litellm_version="/v1",
        makers=("openai",),
        model_prefix="gpt-",
        spell=spelling.for_openai,
    ),
    ProviderFacts(
        "google",
        aliases=("gemini",),
        keys=(("GEMINI_API_KEY", "x-goog-api-key"), ("GOOGLE_API_KEY", "x-goog-api-key")),
        base_url="https://generativelanguage.googleapis.com",
        base_variables=("GOOGLE_GEMINI_BASE_URL",),
        dialects=("gemini",),
        litellm="gemini",
        litellm_version="/v1beta",
        price_names=("gemini",),
        makers=("google",),
        model_prefix="gemini-",
        spell=spelling.for_google,
    ),
    ProviderFacts(
        ROUTER,
        keys=(("OPENROUTER_API_KEY", "bearer"),),
        base_url="https://openrouter.ai/api",
        base_variables=("OPENROUTER_BASE_URL",),
        headers=(("http-referer", "OPENROUTER_HTTP_REFERER"), ("x-title", "OPENROUTER_X_TITLE")),
        dialects=("anthropic", "openai-responses", "openai-chat"),
        litellm_version="/v1",
        spell=spelling.for_openrouter,
        spelling_hint="OpenRouter wants VENDOR/MODEL.",
        key_selects=True,
    ),
    ProviderFacts(
        "bedrock",
        keys=(("AWS_BEARER_TOKEN_BEDROCK", "none"),),
        needs_key=False,
        litellm_options=(
            ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
            ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            ("aws_session_token", "AWS_SESSION_TOKEN"),
            ("aws_region_name", "AWS_REGION"),
        ),
        price_names=("bedrock", "bedrock_converse"),
        makers=("anthropic",),
        spell=spelling.for_bedrock,
        key_selects=True,
    ),
    _local("ollama", "http://127.0.0.1:11434", "ollama_chat", litellm="ollama_chat", version=""),
    _local("hosted_vllm", "http://127.0.0.1:8000", "vllm"),
    _local("lm_studio", "http://127.0.0.1:1234"),
    _local("llamafile", "http://127.0.0.1:8080"),
)

PROVIDERS: Final[Mapping[str, ProviderFacts]] = {row.name: row for row in _ROWS}
PROVIDER_KEYS: Final = frozenset[str]().union(*(row.key_variables for row in _ROWS if not row.is_local))
"""Variables that open a model provider: for the gateway, never for the sandbox."""

_BY_NAME: Final = {name: row for row in _ROWS for name in (row.name, *row.aliases)}
# At the front of a model's name these name who serves the model; the makers' names tell who made it. Of the providers
# without a row, these serve models of others whose names begin with no maker that OpenRouter knows.
_HOSTS: Final = frozenset(
    {
        "azure", "azure_ai", "cerebras", "databricks", "deepinfra", "fireworks_ai", "groq", "huggingface", "nvidia_nim",
        "replicate", "sambanova", "together_ai", "vertex_ai", "watsonx",
    }
)  # fmt: skip


OPENED_OTHERWISE: Final = (
    "azure",
    "bedrock",
    "chatgpt",
    "databricks",
    "github_copilot",
    "huggingface",
    "oci",
    "sagemaker",
    "snowflake",
    "vertex_ai",
    "watsonx",
)
"""How the names of providers begin that litellm opens with other credentials than a key of this name, all their own."""

# The key variables of providers without a row, as litellm and `configure` name them.
OTHER_PROVIDER_KEYS: Final = frozenset(
    f"{name.upper()}_API_KEY"
    for name in (
        *_HOSTS, "ai21", "anyscale", "azure_openai", "codestral", "cohere", "deepseek", "fireworks", "mistral",
        "moonshot", "perplexity", "perplexityai", "together", "togetherai", "xai",
    )
)  # fmt: skip
"""Variables that open a provider of which only litellm knows."""


def find_provider(name: str) -> ProviderFacts | None:
    """The row of that name or alias; `None` when the table has none."""
    return _BY_NAME.get(name)


def default_provider(environ: Mapping[str, str]) -> str:
    """The provider for an agent that names none (contract §4.4)."""
    return ROUTER if environ.get("OPENROUTER_API_KEY") else "anthropic"


def is_maker(prefix: str) -> bool:
    """Whether the first part of a model's name tells who made it, not who serves it."""
    row = _BY_NAME.get(prefix)
    return row is not None and bool(row.model_prefix)


def provider_of_prefix(prefix: str) -> str | None:
    """The provider that the first part of a model's name says serves it; `None` when that part says no such thing."""
    row = _BY_NAME.get(prefix)
    if row is None:
        return prefix if prefix in _HOSTS else None
    return None if row.model_prefix else row.name


def spell_model(model: str, provider: str) -> str | None:
    """The provider's spelling of the model; `None` when there is no unambiguous one."""
    row = _BY_NAME.get(provider)
    if row and row.spell:
        return row.spell(model)
    prefix, _, name = model.partition("/")
    return name if name and (provider_of_prefix(prefix) or prefix) == provider else model


def maker_of(model: str) -> str | None:
    """The provider that makes the model; `None` when the model's name does not say so plainly."""
    name = model.rpartition("/")[2]
    return next((row.name for row in _ROWS if row.model_prefix and name.startswith(row.model_prefix)), None)


def only_other_maker(model: str, provider: str) -> str | None:
    """The maker of the model, when its name says so plainly and the provider does not serve that maker's models."""
    maker, row = maker_of(model), _BY_NAME.get(provider)
    return maker if maker and row and row.makers and maker not in row.makers else None
