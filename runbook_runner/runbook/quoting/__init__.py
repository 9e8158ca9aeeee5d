"""Room `runbook`, `quoting`: values in code, each written as data for the place where its `{{name}}` stands."""
