"""Command line, `records`: the commands about recorded runs."""
