"""Room `runner`, `attach`: commands at the user's terminal, in the sandbox of a live run and in a fresh one."""

from runbook_runner.sandbox.base import Attached

__all__ = ["Attached"]
