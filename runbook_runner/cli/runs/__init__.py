"""Command line, `runs`: the commands that start something in a sandbox."""
