"""Uploads that a writer began and could not note.

Their answer was lost, or the writer was killed before.

A store does not tell who began an upload. Ours are told from others' by all of this: their keys are the journal's; they
were begun between the journal's first object and its note of the uploads that were begun; they have no part, since no
part is put before that note. What somebody else begins for the same key later, or has put a part of, is none of them.
"""

from collections.abc import Collection, Iterator

from ckpt_core.storage.objects.store import ObjectStore, Upload

_SLACK = 5.0
"""Seconds: a store says of what was just put only to some of them when that was."""

_UNNOTED = 60.0
"""Seconds from a journal's begin within which uploads are begun, where the writer was killed before it noted them."""


def unnoted_uploads(
    store: ObjectStore, folder: str, keys: Collection[str], noted: Collection[str], *, began: float, until: float | None
) -> Iterator[Upload]:
    """Yield the uploads that a writer began and did not note.

    They are below the folder of its journal.

    Args:
        store: The store.
        folder: How the keys of the journal's files begin.
        keys: Those keys.
        noted: The ids of uploads that were noted.
        began: When the journal was begun.
        until: When it noted the uploads; None where it does not.
    """
    last = began + _UNNOTED if until is None else until + _SLACK
    for upload in list(store.uploads(folder)):
        own = upload.key in keys and upload.id not in noted and began - _SLACK <= upload.started <= last
        if own and not store.parts(upload.key, upload.id):
            yield upload
