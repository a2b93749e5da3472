"""Stores of objects as writers see them: puts under a condition, uploads in parts, a clock of their own."""
