"""Room `runner`, `recovery`: runs that died are found, finished and cleaned up after."""
