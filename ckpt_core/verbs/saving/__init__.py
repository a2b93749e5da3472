"""Steps of a save.

Each proves what one process or several ranks wrote.
"""
