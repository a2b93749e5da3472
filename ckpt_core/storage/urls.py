"""Which places may be named: the scheme allow-list, chains refused."""

import os
import re

from ckpt_core.errors import UnsafeContentError, UsageError
from ckpt_core.schema.text import printable, redact

SCHEMES = ("file", "memory", "http", "https", "s3", "gs", "gcs", "hf", "wandb", "openbayes")
"""Schemes that a checkpoint may be read from. Others, and fsspec's `a::b` chains, can reach places unasked."""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(ref: str) -> str | None:
    """The scheme of a URL, lower-case; None for a local path.

    Raises:
        UnsafeContentError: The scheme is not on the list, or the URL is a chain.
        UsageError: The ref holds a control character.
    """
    if any(ord(char) < 32 or ord(char) == 127 for char in ref):
        raise UsageError(f"{printable(ref)}: holds a control character; check what the name was made of")
    found = _SCHEME.match(ref)
    if found is None:
        return None
    scheme = found[1].lower()
    if "::" in ref:
        raise UnsafeContentError(f"{redact(ref)}: chained URLs are not read; give the URL of the place itself")
    if scheme not in SCHEMES:
        raise UnsafeContentError(f"{redact(ref)}: scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    return scheme


def local_path(ref: str) -> str | None:
    """The path a ref means on this machine; None for the URL of another place."""
    scheme = scheme_of(ref)
    if scheme is None:
        return os.path.expanduser(ref)
    if scheme == "file":
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(ref)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{redact(ref)}: a file URL of another host; mount it and give the path")
        return unquote(parts.path)
    return None
