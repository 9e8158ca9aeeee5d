"""Room `sandbox`, `docker`: one container per run, on any engine that speaks the Docker API."""
