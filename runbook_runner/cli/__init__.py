"""Command line: the terminal edge. One module per command, thin; this package imports nothing heavy."""
