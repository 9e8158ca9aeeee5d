"""Room `gateway`, `cassette`: the recorded model calls of a run, on disk."""
