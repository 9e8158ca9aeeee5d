"""Evaluation, compare: expected against actual files, by type. `folders.py` is the way in; one module for each type."""
