"""The safetensors format: a length, a JSON header, and the bytes of every tensor without gaps.

Rules: the format section of the safetensors README, and `safetensors/src/tensor.rs` (Metadata::validate). Where parsers
differ (a key that comes twice), the stricter reading holds here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import BY_CODE, DType
from ckpt_core.schema.tensors import ByteRange, Chunk, Outline, TensorEntry, TensorTable
from ckpt_core.schema.text import printable

MAX_HEADER = 100_000_000
"""The format's own limit on the header, in bytes."""

_LENGTH = 8
_KEYS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """What a header says: the tensors in the order of their bytes, and the `__metadata__` strings."""

    path: str
    tensors: TensorTable
    metadata: Mapping[str, str]


def sniff(head: bytes) -> bool:
    """Whether a file begins like a safetensors file: a possible header length, then a JSON object."""
    if head[_LENGTH : _LENGTH + 1] != b"{":
        return False
    return 2 <= int.from_bytes(head[:_LENGTH], "little") <= MAX_HEADER


def read_safetensors(files: Files, path: str) -> SafetensorsFile:
    """The table of a safetensors file; reads the header only.

    Raises:
        CorruptError: The file breaks a rule of the format; the message says which, and names the tensor.
    """
    size = files.size(path)
    header_end = _LENGTH + _header_length(files, path, size)
    head = files.head(path)
    raw = head[_LENGTH:header_end] if header_end <= len(head) else files.read(path, _LENGTH, header_end - _LENGTH)
    header = _parse(path, raw)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt("ST003", path, "__metadata__ is not a map of strings")
    rows = _checked_rows(path, header, size - header_end)
    return SafetensorsFile(path, _table(path, rows, header_end), metadata)


def _header_length(files: Files, path: str, size: int) -> int:
    head = files.head(path)
    if size < _LENGTH:
        raise _corrupt("ST001", path, f"the file has {size} bytes, too few for a header (truncated?)")
    length = int.from_bytes(head[:_LENGTH], "little")
    if length > MAX_HEADER:
        raise _corrupt("ST001", path, f"the header claims {length} bytes; the format allows {MAX_HEADER}")
    if length > size - _LENGTH:
        raise _corrupt("ST001", path, f"the header claims {length} bytes, the file has {size} (truncated?)")
    return length


def _parse(path: str, raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise _corrupt("ST002", path, "the header does not start with {")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _DuplicateKeyError as error:
        raise _corrupt("ST004", path, f"the header has the key {printable(error.key)!r} twice") from None
    except (ValueError, RecursionError) as error:
        raise _corrupt("ST002", path, f"the header is not JSON ({type(error).__name__})") from None
    if not isinstance(header, dict):
        raise _corrupt("ST002", path, "the header is not a JSON object")
    return header


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _checked_rows(path: str, header: dict[str, Any], data_size: int) -> dict[str, tuple[DType, tuple[int, ...], int]]:
    """Rows (dtype, shape, start of its data) in the order of the bytes, proved to lie end to end."""
    found = []
    for name, info in header.items():
        found.append(_checked_row(path, name, info))
    found.sort(key=lambda row: row[3:])
    rows: dict[str, tuple[DType, tuple[int, ...], int]] = {}
    at = 0
    for name, dtype, shape, start, end in found:
        if start != at:
            what = "overlaps the tensor before it" if start < at else f"leaves a hole of {start - at} bytes before it"
            raise _corrupt("ST006", path, f"tensor {printable(name)} {what}", name)
        at = end
        rows[name] = (dtype, shape, start)
    if at > data_size:
        raise _corrupt(
            "ST007", path, f"tensor {printable(found[-1][0])} ends {at - data_size} bytes after the file (truncated?)",
            found[-1][0],
        )
    if at < data_size:
        raise _corrupt("ST008", path, f"{data_size - at} bytes follow the last tensor")
    return rows


def _checked_row(path: str, name: str, info: Any) -> tuple[str, DType, tuple[int, ...], int, int]:
    if not isinstance(info, dict) or info.keys() != _KEYS:
        raise _corrupt("ST005", path, f"tensor {printable(name)}: its entry is not dtype, shape and data_offsets", name)
    dtype = BY_CODE.get(info["dtype"]) if isinstance(info["dtype"], str) else None
    if dtype is None or dtype is DType.C128:
        raise _corrupt("ST005", path, f"tensor {printable(name)}: dtype {printable(str(info['dtype']))} is unknown", name)
    shape, offsets = info["shape"], info["data_offsets"]
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _corrupt("ST005", path, f"tensor {printable(name)}: shape or offsets are not natural numbers", name)
    bits = dtype.bits * prod(shape)
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise _corrupt(
            "ST005",
            path,
            f"tensor {printable(name)}: {dtype.code} of shape {printable(str(shape), 80)} is not "
            f"{offsets[1] - offsets[0]} bytes",
            name,
        )
    return name, dtype, tuple(shape), offsets[0], offsets[1]


def _are_sizes(values: Any) -> bool:
    if type(values) is not list:
        return False
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 63:
            return False
    return True


def _table(path: str, rows: Mapping[str, tuple[DType, tuple[int, ...], int]], data_start: int) -> TensorTable:
    def entry(row: tuple[DType, tuple[int, ...], int]) -> TensorEntry:
        dtype, shape, start = row
        stored = ByteRange(path, data_start + start, dtype.nbytes(prod(shape)))
        return TensorEntry(dtype, shape, (Chunk((0,) * len(shape), shape, stored),))

    def outline(row: tuple[DType, tuple[int, ...], int]) -> Outline:
        return Outline(row[0], row[1], path, data_start + row[2])

    return TensorTable(rows, entry=entry, outline=outline)


def _corrupt(code: str, path: str, reason: str, tensor: str | None = None) -> CorruptError:
    return CorruptError(f"{printable(path)}: {reason}", code=code, path=path, tensor=tensor)
