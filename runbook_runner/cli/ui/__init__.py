"""Command line, `ui`: what a user sees: the terminal, the live display, output on stdout."""
