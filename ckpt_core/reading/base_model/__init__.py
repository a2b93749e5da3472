"""A checkpoint held against a base model, and seen in its names, shapes and order."""
