"""Sandbox: programs that run inside a sandbox, each by itself; `tunnel.py` is also the outer end of the tunnel."""
