"""Room `gateway`, `ask`: the engine's own questions to a model, which go the way of an agent's."""
