"""Command line, `author`: the commands for those who write runbooks."""
