"""Room `runbook`, `sources`: where a document comes from: a file, stdin, an address; and its fixtures."""
