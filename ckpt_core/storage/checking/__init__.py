"""Compares bytes with their checksums, in the pass that reads them."""
