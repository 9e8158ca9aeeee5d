"""Room `trajectory`, `diff`: what differs between two runs, as far as their folders tell it."""
