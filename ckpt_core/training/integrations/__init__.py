"""Loops of other libraries that save as a `Checkpointer` does.

And resume so. None is imported before it is used.
"""
