"""Room `runbook`, `markdown`: the text as Markdown and YAML, with line numbers."""
