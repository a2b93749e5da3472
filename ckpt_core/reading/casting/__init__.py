"""Conversions between element types.

How they are done, for which tensors, and what a seal records of them.
"""
