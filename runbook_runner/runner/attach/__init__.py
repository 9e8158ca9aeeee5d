"""Room `runner`, `attach`: shells in sandboxes, of live runs and of their own."""
