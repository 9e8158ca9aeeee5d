"""Evaluation: required outputs, checks and validation report of a run, and its verdict."""

from runbook_runner.evaluation.verdict import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
