"""Room `gateway`, `replay`: recorded calls answer those of another run."""
