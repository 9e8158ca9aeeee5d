"""Command line, `snapshots`: the commands about snapshots and their images."""
