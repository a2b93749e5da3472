"""`wandb://` as a place that is written to.

Versions are made there, and removed.
"""
