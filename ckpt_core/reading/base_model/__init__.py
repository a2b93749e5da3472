"""Compares a checkpoint with a base model.

And shows it in that model's names, shapes and order.
"""
