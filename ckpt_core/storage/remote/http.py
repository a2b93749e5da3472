"""Web pages as files: one object a URL, with its size, and no listing.

It has of fsspec's filesystems what a listing asks, `info`; its bytes are read in ranges. Nothing is written, no URL is
logged, and neither fsspec nor a package for HTTP is imported.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.schema.text import redact
from ckpt_core.storage.remote.addresses import Address, ListedObject
from ckpt_core.storage.remote.answers import marks_of, total_of
from ckpt_core.storage.remote.questions import Questions
from ckpt_core.storage.remote.retries import Clock


class WebFilesystem:
    """What is known of the objects that web servers have."""

    async_impl = True
    """As of fsspec's: a question is left at its timeout."""

    def info(self, url: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Size, None where the server does not say; `version`, and by which headers an answer is known."""
        answer = Questions(ListedObject(redact(url), lambda fresh: Address(url))).head(Clock(timeout))
        marks = marks_of(answer)
        return {"name": url, "type": "file", "size": total_of(answer), "version": tuple(marks.values()), "marks": marks}

    def invalidate_cache(self) -> None:
        """Nothing is kept."""

    def listed(self, url: str, found: Mapping[str, Any]) -> ListedObject:
        """What every answer is compared with, once `info` has found it."""
        return ListedObject(redact(url), lambda fresh: Address(url), found["size"], found["marks"])
