"""Web pages as files.

One object a URL, with its size, and no listing.

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
    """A filesystem of the objects that web servers have."""

    async_impl = True
    """As of fsspec's: a question is left at its timeout."""

    def info(self, url: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Return the size, the version and the marks of an object.

        Size is None where the server does not say; `version` is made of the headers by which an answer is known.
        """
        answer = Questions(ListedObject(redact(url), lambda fresh: Address(url))).head(Clock(timeout))
        marks = marks_of(answer)
        return {"name": url, "type": "file", "size": total_of(answer), "version": tuple(marks.values()), "marks": marks}

    def invalidate_cache(self) -> None:
        """Nothing is kept."""

    def listed(self, url: str, found: Mapping[str, Any]) -> ListedObject:
        """Return the marks of an object, once `info` has found it.

        Every answer is compared with them.
        """
        return ListedObject(redact(url), lambda fresh: Address(url), found["size"], found["marks"])
