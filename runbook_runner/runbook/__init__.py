"""Room `runbook`: the document. Markdown in, `Runbook` out; parameters, outputs, substitution, sources."""
