"""Room `agents`: the coding-agent CLIs that work in a sandbox: those that come with the program (`built_in/`), those
that users declare in a file (`declared/`) and those of packages, which `registry.py` finds by an entry point.
"""
