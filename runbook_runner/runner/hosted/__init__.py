"""Runner, hosted: runbooks and runs as the platform has them: a task that is registered, a run that was pulled."""
