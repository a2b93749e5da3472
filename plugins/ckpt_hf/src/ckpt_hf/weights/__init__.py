"""Weights as Hugging Face's tools lay them out: shards, indexes, adapters."""
