"""A training held against itself.

Its traces of each step, run through and killed, tell where both first differ.
"""
