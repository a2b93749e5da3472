"""The functions for trainers of MiniLLM.

They are for arguments, start, save and restore.
"""
