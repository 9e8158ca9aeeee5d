"""Core: how providers spell the names of models (contract §4.5). Each function `for_…` returns the provider's spelling
of a model, or `None` when there is no unambiguous one."""

import re

# Text that `re` compiles when it is first used: most commands spell no model.
_CLAUDE_DASHED = r"claude-([a-z]+)-(\d+)-(\d{1,2})"
_CLAUDE_DOTTED = r"(?:anthropic/)?claude-([a-z]+)-(\d+)\.(\d{1,2})"
_OPENAI = r"gpt-.*|o\d(-.*)?"
_REGION = r"[A-Za-z0-9_-]*"


FAMILIES = (
    *("claude", "opus", "sonnet", "haiku", "fable", "instant"),
    *("gpt", "codex", "turbo", "mini", "nano", "chat", "audio", "realtime"),
    *("gemini", "gemma", "flash", "lite", "ultra", "preview", "latest"),
)
"""Words in the names of the makers' models. A new family is none of these, and like none of these."""


def is_address(model: str) -> bool:
    """Whether litellm would take the name, or a part of it, for the server to send the key to: an address, or what has
    the place of an ARN's region and is none. litellm puts that into the name of the host, for AgentCore unseen."""
    region = model.split(":")[3:4]
    return "://" in model or not all(re.fullmatch(_REGION, part) for part in region)


def for_anthropic(model: str) -> str:
    dotted = re.fullmatch(_CLAUDE_DOTTED, model)
    return "claude-{}-{}-{}".format(*dotted.groups()) if dotted else model.removeprefix("anthropic/")


def for_google(model: str) -> str:
    return model.removeprefix("google/").removeprefix("gemini/")


def for_openai(model: str) -> str:
    return model.removeprefix("openai/")


def for_openrouter(model: str) -> str | None:
    if model.startswith("gemini/"):
        return "google/" + model.removeprefix("gemini/")
    if "/" in model:
        return model
    if dashed := re.fullmatch(_CLAUDE_DASHED, model):
        return "anthropic/claude-{}-{}.{}".format(*dashed.groups())
    if re.fullmatch(_OPENAI, model):
        return "openai/" + model
    return "google/" + model if model.startswith("gemini-") else None


def for_bedrock(model: str) -> str | None:
    model = model.removeprefix("bedrock/")
    name = model.removeprefix("anthropic.").removeprefix("anthropic/")
    if name.startswith("claude-"):
        return "us.anthropic." + name
    return model if ".anthropic." in model or model.startswith("arn:") else None
