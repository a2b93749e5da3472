"""Tensors of torch filled from stored bytes: read, or mapped."""
