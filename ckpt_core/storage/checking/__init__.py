"""Bytes compared with every checksum that is known of them, in the pass that reads them."""
