"""Room `agents`, `declared`: agents that users declare in `.runbook/agents/NAME.toml`."""
