"""Loops of other libraries that save and resume as a `Checkpointer` does; none is imported before it is used."""
