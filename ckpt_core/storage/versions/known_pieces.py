"""Reads the indexes that a store names.

One that is lost costs room, and nothing else.
"""

from ckpt_core.errors import CheckpointNotFoundError, CorruptError
from ckpt_core.log import Logger
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.index import Index, parse_index
from ckpt_core.storage.versions.version_store import Head, VersionStore

_log = Logger(__name__)


def read_index(store: VersionStore, key: str) -> Index | None:
    """Return an index; None where it is lost or damaged.

    A warning says so.

    Raises:
        CheckpointNotFoundError: A pruning has put another in its place; the head is to be looked at anew.
    """
    try:
        return parse_index(store.store.read(store.key(key)), key)
    except CheckpointNotFoundError:
        if key not in indexes_of(store.head()):
            raise
        reason = "is lost"
    except CorruptError:
        reason = "is damaged"
    _log.warning(
        "%s: %s %s; what it knows of is stored once more where it comes again, and versions are as they were; "
        "bring it back from a copy of the store before the next ckpt publish, or go on without it",
        store,
        printable(key),
        reason,
    )
    return None


def indexes_of(head: Head) -> tuple[str, ...]:
    """Return the keys of the indexes that a head names."""
    return () if head.record is None else head.record.indexes
