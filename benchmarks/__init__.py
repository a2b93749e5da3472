"""Measured comparisons: each script is one job, with its peers side by side in one run, and prints JSON lines."""
