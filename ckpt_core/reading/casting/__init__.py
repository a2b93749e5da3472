"""Conversions between element types: how, of which tensors, and what a seal records of them."""
