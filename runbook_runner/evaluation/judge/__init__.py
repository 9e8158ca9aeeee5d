"""Room `evaluation`, `judge`: a model scores the results by the runbook's rubric, or its short form's items."""
