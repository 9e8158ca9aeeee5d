"""Runner, optimize: what several recorded runs of a runbook say about it, and the edits that follow from that."""
