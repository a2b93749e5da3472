"""Recognises the beginning of a safetensors file."""

MAX_HEADER = 100_000_000
"""The format's own limit on the header, in bytes."""

LENGTH_BYTES = 8
"""Of the header's length, a little-endian integer before it."""


def sniff_safetensors(head: bytes) -> bool:
    """Return True if a file begins like a safetensors file.

    It begins with a possible header length, then a JSON object.
    """
    if head[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        return False
    return 2 <= int.from_bytes(head[:LENGTH_BYTES], "little") <= MAX_HEADER
