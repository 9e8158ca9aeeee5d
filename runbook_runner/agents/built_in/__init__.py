"""Agents: the table of the agents that come with the program, with the facts that other rooms need. A new one is a
module here with an `AGENT`, and a row in the table; the agent `my-agent` has the module `my_agent`.

The rows stand here and not in the modules, because `runbook check` needs these facts for every runbook in a few
milliseconds, and the modules import pydantic.
"""

from collections.abc import Mapping
from typing import Final

from runbook_runner.core.facts.agents import AgentFacts

_ROWS: Final = (
    AgentFacts(
        "claude-code",
        dialect="anthropic",
        default_model="claude-sonnet-4-6",
        models=r"claude-.*|anthropic/.*",
        providers=("anthropic", "bedrock", "openrouter"),
    ),
    AgentFacts(
        "codex",
        dialect="openai-responses",
        default_model="gpt-5.5",
        models=r"gpt-.*|o[134](-.*)?|openai/.*",
        providers=("openai", "openrouter"),
    ),
    AgentFacts(
        "gemini-cli",
        dialect="gemini",
        default_model="gemini-3.1-pro-preview",
        models=r"gemini[-/].*|google/.*",
        providers=("google", "openrouter"),
    ),
    AgentFacts(
        "opencode",
        dialect="openai-chat",
        default_model="anthropic/claude-sonnet-4.6",
        providers=("openrouter",),
    ),
    AgentFacts(
        "hermes",
        dialect="openai-chat",
        default_model="anthropic/claude-sonnet-4.6",  # ours; Hermes has none of its own
        providers=("openrouter", "anthropic", "openai", "google", "bedrock", "nous"),
    ),
    AgentFacts("shell", runs_blocks=True),
)

BUILT_IN_AGENTS: Final[Mapping[str, AgentFacts]] = {row.name: row for row in _ROWS}
WITHOUT_MODEL: Final = "shell"
"""The agent of a sandbox in which no model works."""
