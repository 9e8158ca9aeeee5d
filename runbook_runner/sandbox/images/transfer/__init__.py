"""Docker sandbox: images of snapshots in a file, for a machine without a registry."""
