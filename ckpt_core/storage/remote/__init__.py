"""Servers: which client speaks to one, what it is asked again, and what its failures mean."""
