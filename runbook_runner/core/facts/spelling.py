"""Core: how providers spell the names of models (contract §4.5). Each function returns the provider's spelling of a
model, or `None` when there is no unambiguous one."""

import re

_CLAUDE_DASHED = re.compile(r"claude-([a-z]+)-(\d+)-(\d{1,2})")
_CLAUDE_DOTTED = re.compile(r"(?:anthropic/)?claude-([a-z]+)-(\d+)\.(\d{1,2})")
_OPENAI = re.compile(r"gpt-.*|o\d(-.*)?")


def for_anthropic(model: str) -> str:
    dotted = _CLAUDE_DOTTED.fullmatch(model)
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
    if dashed := _CLAUDE_DASHED.fullmatch(model):
        return "anthropic/claude-{}-{}.{}".format(*dashed.groups())
    if _OPENAI.fullmatch(model):
        return "openai/" + model
    return "google/" + model if model.startswith("gemini-") else None


def for_bedrock(model: str) -> str | None:
    model = model.removeprefix("bedrock/")
    name = model.removeprefix("anthropic.").removeprefix("anthropic/")
    if name.startswith("claude-"):
        return "us.anthropic." + name
    return model if ".anthropic." in model or model.startswith("arn:") else None
