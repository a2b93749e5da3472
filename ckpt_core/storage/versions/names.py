"""The keys of a store of versions, and the refs of one.

STORE/ckpt.versions.json                the sign by which a store is recognised
STORE/versions/0000000003.json          the record of v3; of the next number, what a pruning has condemned
STORE/tables/PUBLICATION                which bytes of which objects the files of a version are
STORE/indexes/NAME                      where the pieces lie that may be named again
STORE/objects/PUBLICATION/…             the bytes: large tensors one by one, small ones in packs
STORE/aliases/best.json                 the version that a name stands for
STORE/leases/PUBLICATION.json           who publishes now
STORE/prunings/ID.json                  the objects that a pruning has condemned
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import printable

SIGN = "ckpt.versions.json"
SIGNED = b'{"schema": "ckpt/versions@1"}\n'
LATEST = "latest"

VERSIONS = "versions/"
TABLES = "tables/"
INDEXES = "indexes/"
OBJECTS = "objects/"
ALIASES = "aliases/"
LEASES = "leases/"
PRUNINGS = "prunings/"

_SCHEMES = ("file", "s3", "gs", "gcs", "memory", "openbayes")
_REF = re.compile(r"(.+)@([A-Za-z][\w.-]{0,63})", re.ASCII | re.DOTALL)
_NUMBERED = re.compile(r"v(\d{1,10})", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z][\w.-]{0,63}", re.ASCII)
_RECORD = re.compile(rf"{VERSIONS}(\d{{10}})\.json", re.ASCII)
_OBJECT = re.compile(rf"{OBJECTS}[0-9a-f]{{32}}/[\w-]+", re.ASCII)
_KEY = re.compile(r"([a-z]+/)[\w-]+(?:\.json)?", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class VersionRef(NamedTuple):
    """A ref of a version: the store, and its number or alias."""

    store: str
    name: str

    @property
    def number(self) -> int | None:
        """The number that it names; None where it is an alias."""
        return number_of(self.name)


def split_version(ref: str) -> VersionRef | None:
    """Return the store and the version of `STORE@v3`, `STORE@best`.

    None where a ref cannot mean one: of other schemes `@` stands for something else.
    """
    scheme, mark, _ = ref.partition("://")
    found = _REF.fullmatch(ref)
    if found is None or (mark and scheme.lower() not in _SCHEMES) or found[1].endswith("/"):
        return None
    return VersionRef(found[1], found[2])


def number_of(name: str) -> int | None:
    """Return the number of `v3`; None for another name."""
    found = _NUMBERED.fullmatch(name)
    return None if found is None else int(found[1])


def record_key(number: int) -> str:
    """Return the key of a version's record, below the store."""
    return f"{VERSIONS}{number:010}.json"


def number_of_key(key: str) -> int | None:
    """Return the number of a record's key; None for other keys."""
    found = _RECORD.fullmatch(key)
    return None if found is None else int(found[1])


def gaps_in(numbers: Sequence[int]) -> list[range]:
    """Return what is missing below the last of sorted numbers."""
    between = (range(one + 1, other) for one, other in zip([-1, *numbers], numbers, strict=False))
    return [gap for gap in between if gap]


def named(numbers: range) -> str:
    """Return numbers in words: `v3`, `v3 to v5`."""
    return f"v{numbers[0]}" + (f" to v{numbers[-1]}" if len(numbers) > 1 else "")


def is_object_key(key: str) -> bool:
    """Return True for a key that an object of pieces may have."""
    return _OBJECT.fullmatch(key) is not None


def is_key_in(folder: str, key: str) -> bool:
    """Return True for a key of an object directly in a folder."""
    found = _KEY.fullmatch(key)
    return found is not None and found[1] == folder


def is_digest(text: str) -> bool:
    """Return True for a SHA-256 in hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def require_alias(name: str) -> str:
    """Return a name that an alias may have.

    Raises:
        UsageError: It may not: it is the name of a number, or `latest`, which follow from the versions themselves.
    """
    if not _ALIAS.fullmatch(name) or number_of(name) is not None or name == LATEST:
        raise UsageError(
            f"{argument('alias', name)}: {printable(name, 80)!r} cannot be an alias; take letters, digits, '.', '-' "
            "and '_', beginning with a letter, and neither latest nor the name of a number"
        )
    return name
