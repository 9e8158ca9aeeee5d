"""Room `runner`, `replay`: a recorded run, run again with its model calls answered from the recording."""
