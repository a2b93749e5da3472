"""Checkpoints that lie in memory, written in one pass.

Each byte is copied once, digested there, and written.
"""
