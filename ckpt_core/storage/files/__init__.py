"""Listings and ranged reads, of local disks and servers.

What is checked as it is read is in `checking`.
"""
