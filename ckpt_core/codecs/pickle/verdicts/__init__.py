"""Verdicts on the names in a pickle, from one table.

A verdict says what a name would do, with its arguments.
"""
