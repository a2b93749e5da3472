"""Data that is the same again.

Its order and randomness follow from keys, so that a position is all of its state.
"""
