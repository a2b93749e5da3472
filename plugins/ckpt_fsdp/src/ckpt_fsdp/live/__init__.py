"""Reads and writes checkpoints on the ranks of a training under way."""
