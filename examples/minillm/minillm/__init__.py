"""A small MiniLLM: the model, its bytes, its data, and the loop that the nine trainers share."""
