"""Room `runner`, `judge`: who judges the results of a run, and how that model is reached."""
