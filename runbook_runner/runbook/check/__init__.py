"""Room `runbook`, `check`: is a runbook written well? Rules in tables by hundreds, the engine, fixes, formats.

`engine.check` judges texts; `fixing.fixed` mends one; `formats` writes findings down. A rule is one small generator
in the module of its hundred and one row of the table at that module's end.
"""
