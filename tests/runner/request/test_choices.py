"""Agent, model and provider fit together, or nothing starts."""

from typing import Any

import pytest

from runbook_runner.runbook.document import parse
from runbook_runner.runner import RunRequest
from runbook_runner.runner.request.choices import choose

CLAUDE = "agent: claude-code\nmodel: claude-opus-4-6\n"


@pytest.mark.parametrize(("front", "asked", "keys", "provider", "model"), [
    (CLAUDE, {"agent": "codex"}, {"OPENAI_API_KEY"}, "openai", "gpt-5.5"),
    (CLAUDE, {"agent": "codex"}, {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}, "openai", "gpt-5.5"),
    (CLAUDE, {"agent": "codex"}, set(), "openai", "gpt-5.5"),
    (CLAUDE + "model_provider: anthropic\n", {"agent": "codex"}, {"OPENAI_API_KEY"}, "openai", "gpt-5.5"),
    (CLAUDE, {"agent": "codex", "provider": "openai"}, set(), "openai", "gpt-5.5"),
    (CLAUDE, {"agent": "gemini-cli"}, {"GEMINI_API_KEY"}, "google", "gemini-3.1-pro-preview"),
])  # fmt: skip
def test_an_agent_that_was_asked_for_gets_its_own_model_when_it_can_not_have_the_runbooks(
    front: str, asked: dict[str, Any], keys: set[str], provider: str, model: str
) -> None:
    told = list[str]()
    chosen = choose(parse(f"---\n{front}---\n# T\n").frontmatter, RunRequest("-", **asked), keys, told.append)
    assert (chosen.provider.value, chosen.model.value) == (provider, model)
    (note,) = told
    assert "claude-opus-4-6 is not for" in note
    assert f"its own default, {model}." in note


@pytest.mark.parametrize(("front", "asked", "keys", "provider", "model"), [
    (CLAUDE, {"agent": "codex"}, {"OPENROUTER_API_KEY"}, "openrouter", "anthropic/claude-opus-4.6"),
    (CLAUDE, {"agent": "codex"}, {"ANTHROPIC_API_KEY"}, "anthropic", "claude-opus-4-6"),
    (CLAUDE, {"agent": "codex", "provider": "anthropic"}, {"OPENAI_API_KEY"}, "anthropic", "claude-opus-4-6"),
    (CLAUDE, {"agent": "opencode"}, {"ANTHROPIC_API_KEY"}, "anthropic", "claude-opus-4-6"),
    (CLAUDE, {"agent": "codex", "model": "gpt-5.4"}, {"OPENAI_API_KEY"}, "openai", "gpt-5.4"),
    ("model: ollama/qwen3\n", {"agent": "codex"}, {"OPENAI_API_KEY"}, "ollama", "qwen3"),
])  # fmt: skip
def test_an_agent_that_was_asked_for_keeps_the_model_that_it_can_have(
    front: str, asked: dict[str, Any], keys: set[str], provider: str, model: str
) -> None:
    told = list[str]()
    chosen = choose(parse(f"---\n{front}---\n# T\n").frontmatter, RunRequest("-", **asked), keys, told.append)
    assert (chosen.provider.value, chosen.model.value, told) == (provider, model, [])
