"""Command line, `machine`: the commands about this machine."""
