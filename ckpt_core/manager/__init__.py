"""Finds plugins, guards them, and merges their answers.

It stands between `pm.hook` and its caller.
"""
