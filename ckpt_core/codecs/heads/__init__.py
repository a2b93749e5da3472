"""What a file is, told from its first bytes."""
