"""Locates a path or a URL that a person names."""

import os
from collections.abc import Iterator

from ckpt_core.hookspecs import hookimpl
from ckpt_core.schema.locations import Candidate, Priority, Query
from ckpt_core.storage.versions.names import SIGN, split_version


@hookimpl
def locate(query: Query) -> Iterator[Candidate]:
    """Propose the ref itself.

    A word that could be a stage's name is only looked for, not insisted on.
    """
    place = query.place
    if not place:
        return
    insisted = "://" in place or os.sep in place or place in (".", "..") or place.startswith("~") or _is_version(place)
    # A file may have a # in its name; then the whole ref is that file.
    if query.member is not None and query.ref is not None and os.path.exists(query.ref):
        yield Candidate(query.ref, Priority.EXPLICIT, "the path that was given")
    reason = "the path that was given" if insisted else "a file or directory of that name here"
    yield Candidate(place, Priority.EXPLICIT, reason, required=insisted, order=1)


def _is_version(place: str) -> bool:
    """Return True for `STORE@v3` where such a store is here."""
    wanted = split_version(place)
    return wanted is not None and os.path.lexists(os.path.join(wanted.store, SIGN))
