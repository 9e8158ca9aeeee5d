"""Room `sandbox`, `network`: the ways out of a sandbox: sockets, the allow-list proxy."""
