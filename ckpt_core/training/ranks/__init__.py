"""One training of several processes.

Its ranks agree on some things, and each has others of its own.
"""
