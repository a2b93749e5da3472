"""Checkpoints of several ranks, each of which writes whole files: those of the pieces that it holds."""
