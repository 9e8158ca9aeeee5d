"""Room `gateway`, `cassette`: recorded model traffic on disk."""
