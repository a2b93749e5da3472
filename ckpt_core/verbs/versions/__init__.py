"""Verbs of stores of versions.

Publish, list, name, prune, prove and search the versions of a run.
"""
