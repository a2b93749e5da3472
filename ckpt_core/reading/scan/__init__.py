"""Whole and sampled passes over the bytes of a checkpoint."""
