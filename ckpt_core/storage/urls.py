"""Decides which places may be named.

There is an allow-list of schemes, and chains are refused.
"""

import os
import re

from ckpt_core.errors import UnsafeContentError, UsageError
from ckpt_core.schema.text import redact

SCHEMES = ("file", "memory", "http", "https", "s3", "gs", "gcs", "hf", "wandb", "openbayes")
"""Schemes that a checkpoint may be read from. Others, and fsspec's `a::b` chains, can reach places unasked."""

MOUNTS = {"openbayes": "/openbayes"}
"""Schemes of places that are folders of this machine: `openbayes://home/out` is `/openbayes/home/out`."""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")

_BUCKETS = ("s3", "gs", "gcs", "wandb")


def scheme_of(ref: str) -> str | None:
    """The scheme of a URL, lower-case; None for a local path.

    Raises:
        UnsafeContentError: The scheme is not on the list, or the URL is a chain.
        UsageError: The ref holds a control character, or a user and password where a bucket or an entity is named.
    """
    _refuse_control_characters(ref)
    if "::" in ref and "://" in ref:
        raise UnsafeContentError(f"{redact(ref)}: chained URLs are not read; give the URL of the place itself")
    found = _SCHEME.match(ref)
    if found is None:
        return None
    scheme = found[1].lower()
    if scheme not in SCHEMES:
        raise UnsafeContentError(f"{redact(ref)}: scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    if scheme in _BUCKETS:
        _refuse_userinfo(ref, ref[found.end() :].partition("/")[0])
    return scheme


def local_path(ref: str) -> str | None:
    """Return the path that a ref means on this machine.

    None for the URL of another place.
    """
    scheme = scheme_of(ref)
    if scheme is None:
        return os.path.expanduser(ref)
    if scheme in MOUNTS:
        return os.path.join(MOUNTS[scheme], ref.partition("://")[2].lstrip("/"))
    return _path_of_file_url(ref) if scheme == "file" else None


def _path_of_file_url(url: str) -> str:
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"{redact(url)}: not a valid URL; give the path") from None
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{redact(url)}: a file URL of another host; mount it and give the path")
    path = unquote(parts.path, errors="surrogateescape")
    _refuse_control_characters(path)
    return path


def _refuse_userinfo(url: str, bucket: str) -> None:
    """Refuse a bucket with a user and password in its name.

    No client is asked about such a name: it would repeat the name, and the password in it, to its logs.
    """
    if ("@" in bucket or ":" in bucket) and not bucket.startswith("arn:"):
        raise UsageError(
            f"{redact(url)}: nothing has such a name there; credentials come from the environment, not from the URL"
        )


def _refuse_control_characters(ref: str) -> None:
    if any(ord(char) < 32 or ord(char) == 127 for char in ref):
        raise UsageError(f"{redact(ref)}: holds a control character; check what the name was made of")
