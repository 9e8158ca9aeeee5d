"""Room `runner`, `agent`: the agent CLI of a run is started, watched and, where that helps, started again."""
