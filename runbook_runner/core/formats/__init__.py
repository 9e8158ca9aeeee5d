"""Room `core`, `formats`: YAML, JSON and TOML that others wrote, read within bounds: of size, depth and aliases."""
