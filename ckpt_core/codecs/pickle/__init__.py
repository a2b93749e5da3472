"""Reads pickles without running them, and writes torch's own form."""
