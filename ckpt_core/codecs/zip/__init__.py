"""Zip archives: reads the directory strictly, checks and writes records."""
