"""Room `agents`, `declared`: agents that users declare in files `.runbook/agents/NAME.toml`."""
