"""Trajectory: what happened. Records events, folds them into the contract's JSON, keeps the folders."""
