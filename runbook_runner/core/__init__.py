"""Room `core`: what every other room uses: errors, events, the run spec, settings. No I/O but reading settings."""
