"""A folder of a store that is ours to put files into.

Whoever does not write a plan puts whole files or parts of them there.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.writing.uploads.journal import Noted


class StoreFolder(NamedTuple):
    """A folder of a store to put files into.

    Attributes:
        store: The store.
        folder: What the keys begin with; it ends in a slash.
        noted: The journal there, of this very work.
        check: Raises where the place is not ours any more.
        told: Told of every upload that is under way, by the path in the folder, before its first part is put.
    """

    store: ObjectStore
    folder: str
    noted: Noted
    check: Callable[[], None]
    told: Callable[[Mapping[str, str]], None]
