"""Room `runbook`, `authoring`: tools for those who write runbooks: format, scaffold, diff."""
