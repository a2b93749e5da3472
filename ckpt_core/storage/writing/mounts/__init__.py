"""Mounts that cannot rename.

They are told, and a folder of one is taken for a store of objects.
"""
