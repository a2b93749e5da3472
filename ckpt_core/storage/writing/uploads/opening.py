"""A destination in a store made ready.

It is looked at, leased, and looked at again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ckpt_core.errors import FormatError, LockedError, ReplacedError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.text import redact
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.writing.uploads.place import Found, ObjectPlace, look, place_of, refuse_existing
from ckpt_core.storage.writing.uploads.target import ObjectTarget


@contextmanager
def open_object_target(
    ref: str,
    *,
    format: str,
    kind: LocationKind,
    options: Mapping[str, Any] | None = None,
    replace: bool = False,
    resume: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[ObjectTarget]:
    """Lease a destination in a store for a block.

    A mount may be taken for a store; see `open_target`.
    """
    place = place_of(ref, kind)
    if not ranks.leads:
        ranks.exchange(None)
        yield ObjectTarget(place, None, None, format=format, options=options or {}, resume=resume, ranks=ranks)
        return
    before = look(place, all=replace)
    refuse_existing(place, before, replace=replace)
    with held(place.store, lease_key(place, before), place=redact(ref)) as lease:
        found = look(place, all=replace)  # again, with the lease: another writer may just have ended
        refuse_existing(place, found, replace=replace)
        if lease_key(place, found) != lease_key(place, before):
            raise LockedError(f"{redact(ref)}: another writer was there meanwhile; run it again")
        target = ObjectTarget(place, lease, found, format=format, options=options or {}, resume=resume, ranks=ranks)
        try:
            ranks.exchange(None)
            yield target
        except BaseException as error:
            ranks.fail(error)
            if isinstance(error, FormatError | ReplacedError):
                lease.check()  # where it is lost, what was found wrong is another writer's
                target.drop(entirely=True)  # going on from it would end here again
            raise
        finally:
            target.drop()


def lease_key(place: ObjectPlace, found: Found) -> str:
    """Return the leased object.

    Of a directory that is made, its mark, which says that it is no checkpoint yet.
    """
    made = place.kind is LocationKind.DIRECTORY and not found.content
    return place.unfinished if made else place.lease
