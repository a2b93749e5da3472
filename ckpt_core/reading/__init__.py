"""Boxes of tensors out of stored chunks: decoding, strides, coverage, digests, and the checkpoint that reads them."""
