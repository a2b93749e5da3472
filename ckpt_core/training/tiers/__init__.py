"""Runs in stores, and uploads to one in the background.

Of checkpoints on a disk.
"""
