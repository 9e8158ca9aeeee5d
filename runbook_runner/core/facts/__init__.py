"""Room `core`, `facts`: facts about agents and model providers that several rooms read, quick to import."""
