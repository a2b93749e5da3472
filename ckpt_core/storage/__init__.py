"""Listings, ranged reads and writes.

They are local without fsspec, and everything else goes through it.

The only folder of core that knows fsspec.
"""
