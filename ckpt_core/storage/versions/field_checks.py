"""The values that fields of a store's JSON may hold.

Who may write to a store may have written anything there.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from ckpt_core.storage.versions.names import INDEXES, PRUNINGS, TABLES, is_digest, is_key_in

Check = Callable[[Any], bool]

_LARGEST = 1 << 63
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def is_count(value: object) -> bool:
    """Return True for a number of bytes, or of other things."""
    return type(value) is int and 0 <= value < _LARGEST


def is_text(value: object) -> bool:
    return isinstance(value, str)


def require_fields(tree: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Check the fields that are there.

    ValueError with the name of the first that holds something else than it may.
    """
    for name, check in checks.items():
        if name in tree and not check(tree[name]):
            raise ValueError(name)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_moment(value: Any) -> bool:
    return _is_number(value) and isfinite(value) and 0 <= value < _LATEST


def _is_list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_map(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _or_empty(check: Check) -> Check:
    return lambda value: value == "" or (isinstance(value, str) and check(value))


def _in(folder: str) -> Check:
    return lambda key: isinstance(key, str) and is_key_in(folder, key)


RECORD: Mapping[str, Check] = {
    "content": _or_empty(is_digest),
    "table": _or_empty(_in(TABLES)),
    "table_digest": _or_empty(is_digest),
    "place": lambda value: value in ("file", "directory"),
    "format": lambda value: is_text(value) and value.isprintable(),
    "step": lambda value: value is None or type(value) is int,
    "metrics": _is_map(_is_number),
    "tags": _is_list(is_text),
    "size": is_count,
    "new": is_count,
    "tensors": is_count,
    "created": _is_moment,
    "source": is_text,
    "lineage": _is_map(lambda value: isinstance(value, str | int | float)),
    "indexes": _is_list(_in(INDEXES)),
    "prunings": _is_list(_in(PRUNINGS)),
    "mark": is_text,
}

TABLE: Mapping[str, Check] = {
    "files": _is_list(lambda row: len(row) == 3 and is_text(row[0]) and is_count(row[1]) and is_count(row[2])),
    "objects": _is_list(lambda row: len(row) == 2 and is_text(row[0]) and is_count(row[1])),
    "kinds": _is_list(is_text),
    "pieces": is_count,
    "segments": is_count,
    "beside": _is_list(lambda row: len(row) == 2 and is_text(row[0]) and is_count(row[1])),
}
