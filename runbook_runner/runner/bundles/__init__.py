"""Room `runner`, `bundles`: one run as one file, with which another machine looks at it, compares it and replays it."""
