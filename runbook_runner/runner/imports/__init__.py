"""Room `runner`, `imports`: recognises a file of another program, and records what it tells as a trajectory."""
