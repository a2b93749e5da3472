"""Recognises other programs' files, and damaged ones.

By their first bytes and names.
"""
