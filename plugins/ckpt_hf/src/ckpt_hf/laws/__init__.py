"""Compares a config's claims with the tensors beside it."""
