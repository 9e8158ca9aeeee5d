"""Evaluation: was it good? Required outputs, the validation report, and the verdict they give."""

from runbook_runner.evaluation.verdict import evaluate

__all__ = ["evaluate"]
