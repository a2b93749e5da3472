"""Recognises files by their first bytes."""
