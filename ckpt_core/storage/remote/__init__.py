"""Clients of servers, their questions and their failures.

Here is which client speaks to one, what it is asked again, and what its failures mean.
"""
