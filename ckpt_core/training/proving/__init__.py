"""A training held against itself: what it says of each step, run through and killed, and where both first differ."""
