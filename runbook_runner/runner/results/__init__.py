"""Room `runner`, `results`: what comes out of the sandbox into the trajectory folder."""
