"""One training of several processes: what its ranks agree on, and what each has of its own."""
