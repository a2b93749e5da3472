"""Steps of a save.

The copy that a thread writes, the look for NaN, and the system's reason where it failed.
"""
