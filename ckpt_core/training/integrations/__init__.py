"""Loops of other libraries that save as a `Checkpointer` does.

They resume as it does. None is imported before it is used.
"""
