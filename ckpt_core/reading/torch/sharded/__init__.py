"""Fills tensors that are spread over ranks."""
