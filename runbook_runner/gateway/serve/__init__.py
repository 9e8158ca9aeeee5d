"""Room `gateway`, `serve`: the HTTP server that agents ask, one session per run."""
