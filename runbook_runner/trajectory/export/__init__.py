"""Room `trajectory`, `export`: a trajectory in other formats."""
