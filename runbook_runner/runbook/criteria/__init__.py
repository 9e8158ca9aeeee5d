"""Room `runbook`, `criteria`: how a run of this document is judged."""
