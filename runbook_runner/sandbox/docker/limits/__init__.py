"""Room `sandbox`, `docker`: which limits hold for a container, and how much it uses where the engine says nothing."""
