"""Seals for what is in a store already.

Small objects beside somebody's data, none of which is touched.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ckpt_core.errors import ConditionFailedError, OverwriteError, ReplacedError
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import BLOCKS
from ckpt_core.schema.side_files.seals import Seal, pack
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.objects.store import ABSENT, Condition
from ckpt_core.storage.writing.uploads.place import ObjectPlace, place_of


@contextmanager
def sealing_objects(files: Files) -> Iterator[None]:
    """The place of a listing's seal, leased for the block; see `sealing`."""
    place = _place(files)
    with held(place.store, place.lease, place=redact(place.url)) as lease:
        lease.leaves = False
        yield


def write_object_seal(files: Files, seal: Seal) -> None:
    """Put a seal for a listing of a store.

    It replaces the one that is there.

    An old one goes first, but where it says which generation holds: a stop between leaves it unsealed, never false.

    Raises:
        OverwriteError: Another one came there meanwhile.
        ReplacedError: The object is not the listed one any more.
    """
    place = _place(files)
    there = place.store.head(place.seal)
    if there is not None and not files.generation:
        place.store.delete_version(place.seal, there.version)
        there = None
    if place.kind is LocationKind.FILE:
        text, _ = pack(replace(seal, id=uuid.uuid4().hex, objects={place.name: _version(files, place)}), apart=False)
    else:
        text, blocks = pack(replace(seal, id=uuid.uuid4().hex, generation=files.generation), apart=True)
        put_object_beside(files, BLOCKS, blocks)
    try:
        place.store.put(place.seal, text, ABSENT if there is None else Condition(version=there.version))
    except ConditionFailedError:
        raise OverwriteError(
            f"{redact(place.url)}: was sealed by another meanwhile; check it with ckpt verify"
        ) from None


def put_object_beside(files: Files, name: str, data: bytes) -> None:
    """Put a small object of ours beside a listing of a store.

    It replaces an older one.
    """
    place = _place(files)
    within = f"{files.generation}/" if files.generation else ""
    place.store.put(f"{place.root}{within}{name}", data)


def _place(files: Files) -> ObjectPlace:
    return place_of(files.location.url, files.location.kind)


def _version(files: Files, place: ObjectPlace) -> str:
    """The version of the listed object, in the words of the store."""
    there = place.store.head(place.key)
    listed = files.version(next(iter(files.entries)))
    elsewhere = "://" in place.url  # on a mount the listing knows a file by its number, not by its content
    if there is None or (elsewhere and listed and there.version.strip('"') not in listed):
        raise ReplacedError(f"{printable(place.name)}: was replaced while it was read; run it again", code="MO001")
    return there.version
