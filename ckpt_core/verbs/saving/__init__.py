"""Steps of a save: the proof of what was written, by one process or by several ranks."""
