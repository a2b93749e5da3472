"""Runs in stores, and uploads to one in the background.

The checkpoints are on a disk.
"""
