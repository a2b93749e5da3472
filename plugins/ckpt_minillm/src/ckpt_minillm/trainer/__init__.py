"""What a trainer of MiniLLM calls: arguments, start, save and restore."""
