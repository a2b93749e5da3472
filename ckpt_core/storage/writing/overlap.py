"""Outputs that would lie on, in or around an input, refused."""

import os
from collections.abc import Mapping

from ckpt_core.errors import (
    OverwriteError,
)
from ckpt_core.schema.text import printable
from ckpt_core.storage.urls import local_path


def refuse_overlap(ref: str, inputs: Mapping[str, str]) -> None:
    """Refuse a destination that is an input, lies in one, or holds one, by whatever links it is reached.

    Args:
        ref: The destination.
        inputs: Local paths that must not be written, each with what it is.

    Raises:
        OverwriteError: It does.
    """
    path = local_path(ref)
    if path is None:
        return
    target = _with_parents(path)
    for place, what in inputs.items():
        source = _with_parents(place)
        if target[0] in source or source[0] in target:
            raise OverwriteError(f"{printable(ref)}: would overwrite {what} ({printable(place)}); choose another place")


def _with_parents(path: str) -> list[object]:
    """What a path leads to, and each folder above: by device and number where it exists, else by its name."""
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
