"""Checkpoints that lie in memory, written in one pass: each byte is copied once, digested there, and written."""
