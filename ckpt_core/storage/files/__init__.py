"""Listings and ranged reads: local disks, servers, what is checked as it is read."""
