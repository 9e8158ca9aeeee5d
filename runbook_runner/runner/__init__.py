"""Room `runner`: a run from its request to its outcome. Every edge calls `prepare`, then `run`."""

from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.pipeline import run
from runbook_runner.runner.request.prepare import prepare
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.request import Question, RunOptions, RunRequest

__all__ = ["Outcome", "PreparedRun", "Question", "RunOptions", "RunRequest", "prepare", "run"]
