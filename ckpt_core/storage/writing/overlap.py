"""Outputs that would lie on, in or around an input, refused."""

import os
from collections.abc import Mapping

from ckpt_core.errors import (
    OverwriteError,
)
from ckpt_core.schema.text import redact
from ckpt_core.storage.urls import local_path, scheme_of


def refuse_overlap(ref: str, inputs: Mapping[str, str]) -> None:
    """Refuse a destination that overlaps an input.

    It is one, lies in one, or holds one, by whatever links it is reached.

    Args:
        ref: The destination.
        inputs: Paths and URLs that must not be written, each with what it is.

    Raises:
        OverwriteError: It does.
    """
    target = _with_parents(ref)
    for place, what in inputs.items():
        source = _with_parents(place)
        if target[0] in source or source[0] in target:
            raise OverwriteError(f"{redact(ref)}: would overwrite {what} ({redact(place)}); choose another place")


def _with_parents(ref: str) -> list[object]:
    """Return the identity of a ref's place and of each folder above.

    A path is known by device and number where it exists, else by name.
    """
    path = local_path(ref)
    return _url_with_parents(ref) if path is None else _path_with_parents(path)


def _url_with_parents(url: str) -> list[object]:
    scheme = scheme_of(url)
    parts = url.partition("://")[2].partition("?")[0].strip("/").split("/")
    return [("gs" if scheme == "gcs" else scheme, *parts[:count]) for count in range(len(parts), 0, -1)]


def _path_with_parents(path: str) -> list[object]:
    places: list[object] = []
    real = os.path.realpath(path)
    while True:
        try:
            found = os.stat(real)
            places.append((found.st_dev, found.st_ino))
        except OSError:
            places.append(real)
        above = os.path.dirname(real)
        if above == real:
            return places
        real = above
