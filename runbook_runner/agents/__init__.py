"""Room `agents`: the coding-agent CLIs that work in a sandbox. One module per CLI, each with one `AGENT`.

To add one, write `agents/NAME.py` with an `AGENT`, and a row in `built_in.py`. Users add theirs by a file
`.runbook/agents/NAME.toml` (see `declared/file.py`), packages by an entry point (see `registry.py`).
"""
