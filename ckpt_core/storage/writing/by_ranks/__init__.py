"""Checkpoints of several ranks, each of which writes whole files.

A rank writes the files of the pieces that it holds.
"""
