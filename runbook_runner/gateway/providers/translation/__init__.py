"""Gateway: requests for a provider that does not speak the agent's API, translated by litellm."""
