"""Room `runbook`, `parts`: what a document consists of: frontmatter, sections, steps, parameters, outputs."""
