"""Mounts that cannot rename: how they are told, and a folder of one taken for a store of objects."""
