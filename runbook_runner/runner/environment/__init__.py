"""Room `runner`, `environment`: what of this machine a run takes: backend, image layers, programs."""
