"""Runs in stores, and checkpoints that are uploaded from a disk to one in the background."""
