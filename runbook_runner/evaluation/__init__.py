"""Evaluation: required outputs, checks and validation report of a run, and its verdict; expected against actual files.

Importing this imports nothing else: the process that compares files imports parts of it, without any library.
"""
