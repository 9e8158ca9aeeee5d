"""Room `trajectory`, `export`: a trajectory in formats of others."""
