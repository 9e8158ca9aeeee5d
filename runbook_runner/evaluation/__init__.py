"""Evaluation: required outputs and validation report of a run, and its verdict."""

from runbook_runner.evaluation.verdict import evaluate

__all__ = ["evaluate"]
