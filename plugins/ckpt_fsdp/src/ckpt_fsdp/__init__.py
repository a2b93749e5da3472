"""Sharded checkpoints for ckpt.

One process reads what many ranks wrote as one table, without torch.
"""
