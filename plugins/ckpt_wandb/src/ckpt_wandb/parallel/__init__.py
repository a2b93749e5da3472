"""Files of an artifact brought in parts by several threads.

Each is hashed as it comes.
"""
