"""Moving checkpoints from place to place.

What stopped writers left there is cleaned away.
"""
