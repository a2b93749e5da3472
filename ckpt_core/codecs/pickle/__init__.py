"""Pickles read without running them, and written in torch's own form."""
