"""Compares a checkpoint with a base model.

It also shows the checkpoint in that model's names, shapes and order.
"""
