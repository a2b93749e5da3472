"""Staged targets, plans carried out, and commits that show all or nothing."""
