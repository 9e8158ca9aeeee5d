"""Which agent, which provider, and how the provider spells the model: facts of the contract (§4.3–4.5), no I/O."""

import re
from collections.abc import Collection

from runbook_runner.core.settings import DEFAULT_AGENT

DEFAULT_MODELS = {
    "claude-code": "claude-sonnet-4-6",
    "codex": "gpt-5.5",
    "gemini-cli": "gemini-3.1-pro-preview",
    "hermes": "anthropic/claude-sonnet-4.6",
    "opencode": "anthropic/claude-sonnet-4.6",
}
"""Contract §4.1; Hermes has none of its own."""

_AGENT_BY_MODEL = (
    (re.compile(r"claude-.*|anthropic/.*"), "claude-code"),
    (re.compile(r"gpt-.*|o[134](-.*)?|openai/.*"), "codex"),
    (re.compile(r"gemini[-/].*|google/.*"), "gemini-cli"),
)
_PROVIDERS = {
    "claude-code": ("anthropic", "bedrock", "openrouter"),
    "codex": ("openai", "openrouter"),
    "gemini-cli": ("google", "openrouter"),
    "opencode": ("openrouter",),
    "hermes": ("openrouter", "anthropic", "openai", "google", "bedrock", "nous"),
}
# In the contract's order: a key that is there decides, when the agent can use its provider.
_PROVIDER_BY_KEY = (("OPENROUTER_API_KEY", "openrouter"), ("AWS_BEARER_TOKEN_BEDROCK", "bedrock"))

# First part of a model's name → the provider it names: servers on one's own machine, and hosts of others' models whose
# names are no vendor's at OpenRouter. Which providers there are beyond these is the gateway's business.
_PROVIDER_BY_PREFIX = {
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "hosted_vllm": "hosted_vllm",
    "vllm": "hosted_vllm",
    "lm_studio": "lm_studio",
    "llamafile": "llamafile",
    **{
        name: name
        for name in (
            "azure", "azure_ai", "bedrock", "cerebras", "databricks", "deepinfra", "fireworks_ai", "groq",
            "huggingface", "nvidia_nim", "replicate", "sambanova", "together_ai", "vertex_ai", "watsonx",
        )
    },
}  # fmt: skip
_VENDORS = frozenset({"anthropic", "openai", "google", "gemini"})

_CLAUDE_DASHED = re.compile(r"claude-([a-z]+)-(\d+)-(\d{1,2})")
_CLAUDE_DOTTED = re.compile(r"(?:anthropic/)?claude-([a-z]+)-(\d+)\.(\d{1,2})")


def agents() -> tuple[str, ...]:
    """The runtimes that call a model (contract §4.1)."""
    return tuple(_PROVIDERS)


def providers(agent: str | None = None) -> tuple[str, ...]:
    """The providers an agent can use, its own first; without an agent all there are. Empty for an unknown agent."""
    if agent is not None:
        return _PROVIDERS.get(agent, ())
    return tuple(dict.fromkeys(name for names in _PROVIDERS.values() for name in names))


def infer_agent(model: str | None) -> str:
    """The agent for a model when the runbook names none."""
    if model:
        for pattern, agent in _AGENT_BY_MODEL:
            if pattern.fullmatch(model):
                return agent
    return DEFAULT_AGENT


def choose_provider(agent: str, requested: str | None, model: str | None, keys: Collection[str]) -> str | None:
    """requested, else by the key variables that are set, else the agent's own. `None`: the agent uses no model.

    keys: names of the key variables that have a value. A key does not decide for a provider that could not be
    given this model's name.
    """
    return explain_provider(agent, requested, model, keys)[0]


def explain_provider(
    agent: str, requested: str | None, model: str | None, keys: Collection[str]
) -> tuple[str | None, str]:
    """What `choose_provider` chooses, and why, for people."""
    supported = _PROVIDERS.get(agent, ())
    if requested:
        return requested, "asked for"
    if not supported:
        return None, f"{agent} has no provider of its own"
    prefix = model.partition("/")[0] if model and "/" in model else None
    if prefix in _PROVIDER_BY_PREFIX:
        return _PROVIDER_BY_PREFIX[prefix], "the model's name says so"
    for key, provider in _PROVIDER_BY_KEY:
        if key in keys and provider in supported and (model is None or spell_model(model, provider) is not None):
            return provider, f"{key} is set"
    if prefix is not None and prefix not in _VENDORS and supported[0] != "openrouter":
        return prefix, "the model's name says so"
    return supported[0], f"{agent}'s own"


def model_for(agent: str, model: str | None, provider: str | None) -> str | None:
    """The model id to ask the provider for; the given one when we know no better spelling."""
    model = model or DEFAULT_MODELS.get(agent)
    if model is None or provider is None:
        return model
    return spell_model(model, provider) or model


def spell_model(model: str, provider: str) -> str | None:
    """The provider's spelling of the model (contract §4.5); `None` when there is no unambiguous one."""
    if provider == "openrouter":
        return _for_openrouter(model)
    if provider == "anthropic":
        dotted = _CLAUDE_DOTTED.fullmatch(model)
        return "claude-{}-{}-{}".format(*dotted.groups()) if dotted else model.removeprefix("anthropic/")
    if provider == "openai":
        return model.removeprefix("openai/")
    if provider == "google":
        return model.removeprefix("google/").removeprefix("gemini/")
    if provider == "bedrock":
        return _for_bedrock(model.removeprefix("bedrock/"))
    prefix, _, name = model.partition("/")
    return name if name and _PROVIDER_BY_PREFIX.get(prefix, prefix) == provider else model


def _for_openrouter(model: str) -> str | None:
    if model.startswith("gemini/"):
        return "google/" + model.removeprefix("gemini/")
    if "/" in model:
        return model
    dashed = _CLAUDE_DASHED.fullmatch(model)
    if dashed:
        return "anthropic/claude-{}-{}.{}".format(*dashed.groups())
    if re.fullmatch(r"gpt-.*|o\d(-.*)?", model):
        return "openai/" + model
    if model.startswith("gemini-"):
        return "google/" + model
    return None


def _for_bedrock(model: str) -> str | None:
    name = model.removeprefix("anthropic.").removeprefix("anthropic/")
    if name.startswith("claude-"):
        return "us.anthropic." + name
    return model if ".anthropic." in model or model.startswith("arn:") else None
