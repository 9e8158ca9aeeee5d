"""Room `core`, `disk`: folders that others may have had a hand in."""
