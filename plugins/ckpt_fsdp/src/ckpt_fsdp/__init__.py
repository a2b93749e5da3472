"""Sharded checkpoints for ckpt: what many ranks wrote, read as one table by one process, without torch."""
