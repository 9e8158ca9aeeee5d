"""Room `core`, `asking`: what the engine itself asks a model."""
