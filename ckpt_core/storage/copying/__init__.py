"""Checkpoints moved as they are, file by file.

The files move in parts that are checked as they move, and are never moved again.
"""
