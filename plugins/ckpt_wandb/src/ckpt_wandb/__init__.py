"""Checkpoints in W&B artifacts for ckpt: found by name and version, read in ranges, as a filesystem of fsspec."""
