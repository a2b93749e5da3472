"""Reads boxes of tensors out of stored chunks.

With decoding, strides, coverage, digests, and the checkpoint that reads them.
"""
