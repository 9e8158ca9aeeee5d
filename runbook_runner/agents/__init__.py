"""Room `agents`: who works in a sandbox. One module per CLI; each holds one `AGENT`, which is mostly data."""
