"""Steps of a save: the copy that a thread writes, the look for NaN, and what the system said where it failed."""
