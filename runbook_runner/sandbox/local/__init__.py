"""Room `sandbox`, `local`: sandboxes without an engine: bubblewrap, and a plain folder of this host."""
