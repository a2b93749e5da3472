"""The objects that prunings have condemned.

A pruning puts a list of the objects that nothing names, and then, under the number that the next version would get, a
record that refers to the list. Whoever commits after that has to have seen it. So nothing condemned is ever named, and
all of it can be deleted, however long any process had slept.
"""

import json
from collections.abc import Iterable
from uuid import uuid4

from ckpt_core.errors import CheckpointNotFoundError, CorruptError
from ckpt_core.schema.text import printable
from ckpt_core.storage.objects.store import ABSENT
from ckpt_core.storage.versions.names import PRUNINGS
from ckpt_core.storage.versions.version_store import Head, VersionStore

SCHEMA = "ckpt/condemned@1"
KEPT = 8
"""Prunings that a record remembers; who has missed more begins anew."""


class CondemnedError(Exception):
    """Ends a publication that would name what a pruning has condemned."""


def put_condemned(store: VersionStore, keys: Iterable[str]) -> str:
    """Put the list of what is condemned; return its key."""
    key = f"{PRUNINGS}{uuid4().hex}.json"
    store.store.put(store.key(key), json.dumps({"schema": SCHEMA, "objects": sorted(keys)}).encode(), ABSENT)
    return key


def condemned_since(store: VersionStore, began: Head, now: Head) -> set[str]:
    """Return what was condemned between two looks at a store.

    Raises:
        CondemnedError: Nobody knows any more.
    """
    before, after = prunings_of(began), prunings_of(now)
    if (before and before[-1] not in after) or (not before and len(after) >= KEPT):
        raise CondemnedError
    missed = after[after.index(before[-1]) + 1 :] if before else after
    return {key for pruning in missed for key in _condemned(store, pruning)}


def prunings_of(head: Head) -> tuple[str, ...]:
    """Return the prunings that the last record of a store remembers."""
    return () if head.record is None else head.record.prunings


def _condemned(store: VersionStore, pruning: str) -> list[str]:
    try:
        tree = json.loads(store.store.read(store.key(pruning)))
        if tree["schema"] != SCHEMA:
            raise ValueError(tree["schema"])
        return [str(key) for key in tree["objects"]]
    except CheckpointNotFoundError:
        raise CondemnedError from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"{printable(pruning)}: not a list of what was pruned ({type(error).__name__}); run it again",
            code="VS002",
            path=pruning,
        ) from None
