"""Filesystems of fsspec that publish.

They take finished files as one new version, and nothing else.

A class says so by `publishes = True`. It is asked for where its files are staged, and given them when all are there and
proved. Whoever reads it under a name that moves sees the version before, or the new one, and never a part.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.storage.remote.filesystems import open_filesystem
from ckpt_core.storage.urls import local_path, scheme_of

_NEVER = ("memory", "s3", "gs", "gcs", "http", "https", "hf")
"""Schemes of places that are written to otherwise, or not at all: their packages are not imported to be asked."""


class Publisher(Protocol):
    """A filesystem that publishes, beside what fsspec asks of it."""

    publishes: ClassVar[bool]

    def staging(self, url: str, *, is_file: bool) -> str:
        """Return the folder where a URL's next version is staged.

        It is on this machine, and it is there.

        The same for the same URL, so that stopped work goes on. Raises where nothing can be published there.
        """

    def publish(self, url: str, files: Mapping[str, str], *, is_file: bool) -> Mapping[str, Any]:
        """Make a version of files, and return it once read back.

        Args:
            url: The destination.
            files: Paths on this machine, by the path that each has at the destination.
            is_file: Whether the URL names one of them; the others, such as its seal, lie beside it.

        Returns:
            `url`, pinned to the version; `is_new`, whether it was made now; `note`, what a user is to know.
        """


def publisher_of(ref: str) -> Publisher | None:
    """Return the filesystem that publishes at a URL.

    None where nothing does, or something writes there otherwise.
    """
    scheme = scheme_of(ref)
    if scheme in _NEVER or local_path(ref) is not None:
        return None
    try:
        filesystem: Any = open_filesystem(ref)[0]
    except UnsupportedFormatError:
        return None
    return filesystem if getattr(filesystem, "publishes", False) else None


def is_published(ref: str) -> bool:
    """Return whether what is written to a ref is published."""
    return publisher_of(ref) is not None
