"""Room `gateway`, `script`: a deterministic model that answers from a YAML file."""
