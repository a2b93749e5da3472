"""Recognises other programs' files and damaged ones.

The first bytes and the names tell.
"""
