"""Checkpoints of several ranks, each of which writes whole files.

Those of the pieces that it holds.
"""
