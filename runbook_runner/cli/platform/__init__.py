"""Command line: commands that talk to a platform server."""
