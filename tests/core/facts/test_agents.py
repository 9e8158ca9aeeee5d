"""Which agent, which provider, and how the provider spells the model (contract §4.3–4.5)."""

import pytest

from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.registry import find_agent, infer_agent, known_agents
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts, choose_provider, model_for
from runbook_runner.core.facts.spelling import is_address

CLAUDE_CODE = BUILT_IN_AGENTS["claude-code"]


@pytest.mark.parametrize(("model", "agent"), [
    ("claude-sonnet-4-6", "claude-code"), ("anthropic/claude-sonnet-4.6", "claude-code"), ("gpt-5.5", "codex"),
    ("o3", "codex"), ("o4-mini", "codex"), ("openai/gpt-5.4", "codex"), ("gemini-2.5-pro", "gemini-cli"),
    ("google/gemini-2.5-pro", "gemini-cli"), ("qwen3", "claude-code"), (None, "claude-code"),
])  # fmt: skip
def test_the_model_tells_the_agent(model: str | None, agent: str) -> None:
    assert infer_agent(model).name == agent


@pytest.mark.parametrize(("agent", "model", "keys", "provider"), [
    ("claude-code", "claude-sonnet-4-6", {"OPENROUTER_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"}, "openrouter"),
    ("claude-code", "claude-sonnet-4-6", {"AWS_BEARER_TOKEN_BEDROCK"}, "bedrock"),
    ("claude-code", "claude-sonnet-4-6", {"ANTHROPIC_API_KEY"}, "anthropic"),
    ("claude-code", "claude-sonnet-4-6", set(), "anthropic"),
    ("codex", "house-model", {"OPENROUTER_API_KEY"}, "openai"),  # OpenRouter has no name for it
    ("opencode", None, {"ANTHROPIC_API_KEY"}, "anthropic"),
    ("opencode", "gpt-5.5", {"ANTHROPIC_API_KEY", "OPENAI_API_KEY"}, "openai"),
    ("opencode", None, {"OPENAI_API_KEY"}, "openrouter"),  # its default model is another maker's
    ("hermes", "gemini-2.5-pro", {"GOOGLE_API_KEY"}, "google"),
    ("codex", "claude-sonnet-4-6", {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}, "anthropic"),
    ("claude-code", "gpt-5.5", {"AWS_BEARER_TOKEN_BEDROCK"}, "anthropic"),
])  # fmt: skip
def test_the_keys_that_are_there_choose_a_provider_that_serves_the_model(
    agent: str, model: str | None, keys: set[str], provider: str
) -> None:
    assert choose_provider(BUILT_IN_AGENTS[agent], model, keys)[0] == provider


def test_an_agent_that_names_no_providers_has_its_models_own() -> None:
    house = AgentFacts("house", dialect="openai-chat")
    assert choose_provider(house, "ollama/qwen3", ())[0] == "ollama"
    assert choose_provider(house, "gpt-5.5", {"OPENAI_API_KEY"})[0] == "openai"
    assert choose_provider(house, "gpt-5.5", ())[0] is None


def test_an_agent_without_model_has_no_provider() -> None:
    assert choose_provider(BUILT_IN_AGENTS["shell"], None, {"OPENROUTER_API_KEY"})[0] is None


@pytest.mark.parametrize(("model", "provider", "spelled"), [
    ("claude-sonnet-4-6", "openrouter", "anthropic/claude-sonnet-4.6"),
    ("anthropic/claude-sonnet-4.6", "anthropic", "claude-sonnet-4-6"),
    ("claude-sonnet-4-6", "anthropic", "claude-sonnet-4-6"),
    ("gpt-5.5", "openrouter", "openai/gpt-5.5"),
    ("openai/gpt-5.5", "openai", "gpt-5.5"),
    ("gemini/gemini-2.5-pro", "openrouter", "google/gemini-2.5-pro"),
    ("google/gemini-2.5-pro", "google", "gemini-2.5-pro"),
    ("claude-sonnet-4-6", "bedrock", "us.anthropic.claude-sonnet-4-6"),
    ("us.anthropic.claude-sonnet-4-6", "bedrock", "us.anthropic.claude-sonnet-4-6"),
    ("house-model", "openrouter", "house-model"),
])  # fmt: skip
def test_each_provider_gets_its_own_spelling(model: str, provider: str, spelled: str) -> None:
    assert model_for(CLAUDE_CODE, model, provider) == spelled


def test_without_a_model_the_agent_has_a_default() -> None:
    assert model_for(CLAUDE_CODE, None, "anthropic") == "claude-sonnet-4-6"
    assert model_for(CLAUDE_CODE, None, "openrouter") == "anthropic/claude-sonnet-4.6"


def test_agents_are_found_in_any_case_and_unknown_ones_get_the_list() -> None:
    assert find_agent(" Claude-Code ").name == "claude-code"
    with pytest.raises(InputError) as error:
        find_agent("clippy")
    for name in known_agents():
        assert name in str(error.value)


@pytest.mark.parametrize("model", [
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "hf.co/bartowski/Llama-3.2-3B-GGUF:Q4_K_M", "@cf/meta/llama-3",
    "bedrock/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-v1:0",
    "bedrock/agentcore/arn:aws:bedrock-agentcore:us-west-2:888602223428:runtime/agent-1",
    "ft:gpt-4o:acme:my_run:id", "ft:gpt-4o:acme::id",
])  # fmt: skip
def test_usual_names_of_models_are_no_addresses(model: str) -> None:
    assert not is_address(model)
