"""Stores of versions.

Every version of a run whole, what they share once, on a disk or at a URL. docs/versions.md has the layout and the
protocol.
"""
