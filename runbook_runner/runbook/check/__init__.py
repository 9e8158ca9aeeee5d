"""Room `runbook`, `check`: is a runbook written well? Rules in tables by hundreds, the engine, fixes, formats.

`engine` turns texts into findings; `fixes` fixes one text; `formats` prints findings. A rule is one small generator
in the module of its hundred and one row of the table at that module's end.
"""
