"""Proposed content tried before it is written, and repairs done in place with a way back."""
