"""Room `core`: what every other room speaks: errors, events, the run spec, settings. No I/O but reading settings."""
