"""Checkpoints moved from place to place, and what stopped writers left there cleaned away."""
