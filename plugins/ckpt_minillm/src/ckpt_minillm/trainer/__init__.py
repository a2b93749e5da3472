"""The functions for trainers of MiniLLM.

For arguments, start, save and restore.
"""
