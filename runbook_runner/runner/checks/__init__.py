"""Runner, checks: what the checks of a run need of it: its sandbox, and the repositories that they are in."""
