"""Checkpoints moved as they are, file by file: in parts that are checked as they move, and are never moved again."""
