"""Room `runner`, `watch`: a runbook that is checked and run again whenever it, or a file that it uses, is saved."""
