"""Evaluation, checks: what the engine tests itself: the code checks of a runbook (contract §3.11) and the verification
script of an older one (§3.16)."""
