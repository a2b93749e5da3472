"""Puts objects of any size, streamed."""

from collections.abc import Iterable, Iterator

from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.versions.directory_store import DirectoryStore

AT_ONCE = 64 << 20
"""Bytes up to which an object is put in a single request."""


def write_object(store: ObjectStore, key: str, size: int, slabs: Iterable[memoryview | bytes]) -> None:
    """Put an object under a name that nobody else gives.

    Args:
        store: Where to.
        key: Its key.
        size: In bytes.
        slabs: Its bytes, in order; those of one are used up before the next is asked for.
    """
    if isinstance(store, DirectoryStore):
        store.write_new(key, slabs)
    elif size <= AT_ONCE:
        store.put(key, _joined(size, slabs))
    else:
        _upload(store, key, size, slabs)


def _upload(store: ObjectStore, key: str, size: int, slabs: Iterable[memoryview | bytes]) -> None:
    upload = store.begin_upload(key)
    try:
        pieces = _of_length(store.part_bytes(size), slabs)
        parts = [store.put_part(key, upload, number, memoryview(part)) for number, part in enumerate(pieces, 1)]
        store.complete(key, upload, parts)
    except BaseException:
        store.abort(key, upload)
        raise


def _joined(size: int, slabs: Iterable[memoryview | bytes]) -> memoryview:
    whole, at = memoryview(bytearray(size)), 0
    for slab in slabs:
        whole[at : at + len(slab)] = slab
        at += len(slab)
    return whole


def _of_length(length: int, slabs: Iterable[memoryview | bytes]) -> Iterator[bytearray]:
    """Yield the same bytes in parts of this length."""
    part = bytearray()
    for slab in slabs:
        view = memoryview(slab)
        while len(view):
            taken = view[: length - len(part)]
            part += taken
            view = view[len(taken) :]
            if len(part) == length:
                yield part
                part = bytearray()
    if part:
        yield part
