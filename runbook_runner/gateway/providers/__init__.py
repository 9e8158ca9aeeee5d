"""Room `gateway`, `providers`: the model providers, their prices, and the translation through litellm."""
