"""Stores of objects as writers see them.

Puts under a condition, uploads in parts, a clock of their own.
"""
