"""Command line, records: `runbook runs …`: the recorded runs, and what can be seen of each."""
