"""What a config claims, held against the tensors beside it."""
