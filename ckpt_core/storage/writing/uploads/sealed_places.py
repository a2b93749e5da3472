"""A place held against other writers while it is compared.

It is compared with what would be written there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ckpt_core.errors import CkptError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.text import redact
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.leftovers import leftovers
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing.open_local import swept


@contextmanager
def hold_sealed(ref: str, kind: LocationKind) -> Iterator[bool]:
    """Hold a place for a block; give whether it may be sealed.

    As a writer does, where something may be there that is sealed.

    On a disk, what killed writers began there is ended and swept before.

    Raises:
        LockedError: Another process is writing there.
        CkptError: The place does not answer, or may not be written to.
    """
    path = local_path(ref)
    if path is not None:
        there = os.path.lexists(path)
        if there:
            with swept(path):
                yield True
        else:
            yield False
        return
    from ckpt_core.storage.writing.uploads.place import place_of

    place = place_of(ref, kind)
    if place.store.head(place.seal) is None:
        yield False
        return
    with held(place.store, place.lease, place=redact(ref)):
        yield True


def sweep_behind(ref: str) -> None:
    """Remove the leftovers of a gone writer behind its seal.

    What somebody is at work on stays.
    """
    if local_path(ref) is not None:
        return
    store, key = open_store(ref)
    for left in leftovers(store, key):
        if left.place == f"{store.url}/{key}" and not left.held:
            with suppress(CkptError):  # ckpt clean lists it
                left.remove()
