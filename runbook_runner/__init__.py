"""Runbook Runner: executes agent runbooks on your own machine and records what happened."""

__version__ = "0.1.0"
