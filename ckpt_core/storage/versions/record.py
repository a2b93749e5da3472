"""The record of a version: one small JSON object.

A number belongs to a version for ever: what is pruned leaves a record that says so. The number that comes next may have
been taken by a pruning: its record says what may not be named any more, and gives way to the version that keeps to it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.field_checks import RECORD, require_fields
from ckpt_core.storage.versions.names import number_of_key

SCHEMA = "ckpt/version@1"

VERSION, GOING, PRUNED, FENCE = "version", "going", "pruned", "fence"


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """The facts of a version that need no table.

    Attributes:
        number: Its number, from 0.
        kind: `version`; `going` where a pruning looks whether an alias stands for it; `pruned` where its content may
            be freed; `fence` where a pruning holds the next number.
        content: SHA-256 of what its files are, by the digests of their pieces: versions of equal content share it.
        table: Key of its table, below the store.
        table_digest: SHA-256 of the table's bytes.
        place: `file` or `directory`: what it was published from, and opens as.
        format: Name of the format that it was published from.
        step: The training step, where its content records one.
        metrics: Values by name.
        tags: What it was published with.
        size: Bytes of its files.
        new: Bytes that were stored for it, since nothing that the store had was equal.
        tensors: How many tensors it has.
        created: When, in seconds since 1970, by the store's clock.
        source: Where it was published from, without secrets.
        lineage: What its seal says of where it came from.
        indexes: Keys of the indexes that whoever comes next looks pieces up in.
        prunings: Keys of what the last prunings had condemned, the newest last.
        mark: Of a version that is going, unique: no two such records are the same, and so neither are their versions.
    """

    number: int
    kind: str = VERSION
    content: str = ""
    table: str = ""
    table_digest: str = ""
    place: str = "directory"
    format: str = ""
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    size: int = 0
    new: int = 0
    tensors: int = 0
    created: float = 0.0
    source: str = ""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    indexes: tuple[str, ...] = ()
    prunings: tuple[str, ...] = ()
    mark: str = ""

    @property
    def name(self) -> str:
        """`v3`."""
        return f"v{self.number}"

    @property
    def is_whole(self) -> bool:
        """True for a version that can be opened.

        Also while it is going.
        """
        return self.kind in (VERSION, GOING)

    @property
    def staying(self) -> "VersionRecord":
        """The same record, without the mark of a pruning."""
        return replace(self, kind=VERSION, mark="")

    def encoded(self) -> bytes:
        """Return the JSON of the record."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, separators=(",", ":")).encode()


_KINDS = (VERSION, GOING, PRUNED, FENCE)
_NAMES = frozenset(one.name for one in fields(VersionRecord))


def parse_record(data: bytes, key: str) -> VersionRecord:
    """Return the record that an object holds.

    Raises:
        CorruptError: VS002, it is none, or of another number than its key's.
        UnsupportedFormatError: A newer ckpt wrote it.
    """
    try:
        tree = json.loads(data)
        schema = tree.pop("schema")
        if schema != SCHEMA:
            raise _other_schema(key, schema)
        known = {name: value for name, value in tree.items() if name in _NAMES}
        require_fields(known, {**RECORD, "kind": _KINDS.__contains__, "number": _is(number_of_key(key))})
        known |= {name: tuple(known[name]) for name in ("tags", "indexes", "prunings")}
        known["metrics"] = {name: float(value) for name, value in known["metrics"].items()}
        record = VersionRecord(**known)
        if record.is_whole and not (record.content and record.table and record.table_digest):
            raise ValueError("table")
        return record
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptError(
            f"{printable(key)}: not the record of a version ({_said(error)}); bring the object back from a copy of "
            "the store",
            code="VS002",
            path=key,
        ) from None


def _is(number: int | None) -> Callable[[object], bool]:
    return lambda value: type(value) is int and value == number


def _said(error: Exception) -> str:
    """Return the field that is wrong, where one is."""
    name = str(error).strip("'")
    return f"its {name}" if name in _NAMES else type(error).__name__


def _other_schema(key: str, schema: object) -> Exception:
    if isinstance(schema, str) and schema.startswith("ckpt/version@"):
        return UnsupportedFormatError(f"{printable(key)}: {printable(schema, 80)} is newer than this ckpt; upgrade it")
    return ValueError(schema)
