"""Fills torch tensors from stored bytes: read, or mapped."""
