"""Room `sandbox`: where an agent works. `base` is the contract; each backend keeps it."""
