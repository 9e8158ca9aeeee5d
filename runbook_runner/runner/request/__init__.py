"""Room `runner`, `request`: from a document and what its caller asks for to the spec of a run."""
