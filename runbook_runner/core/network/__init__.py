"""Room `core`, `network`: which addresses may be reached, and how connections on this machine are made."""
