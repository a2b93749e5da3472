"""Byte formats, read without torch: safetensors, torch files old and new, the pickles in them."""
