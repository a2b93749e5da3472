"""Reads boxes of tensors out of stored chunks.

Decoding, strides, coverage, digests, and the checkpoint that reads them are here.
"""
