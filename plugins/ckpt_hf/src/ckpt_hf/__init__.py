"""Hugging Face model directories for ckpt."""
