"""Sandbox: programs that run inside a sandbox, each by itself; `tunnel.py` runs at both of its ends."""
