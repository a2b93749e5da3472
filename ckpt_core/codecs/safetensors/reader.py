"""Reads the header of safetensors files.

A file is a length, a JSON header, and the bytes of every tensor without gaps.

Rules: the format section of the safetensors README, and `safetensors/src/tensor.rs` (Metadata::validate). Where parsers
differ (a key that comes twice), the stricter reading holds here.
"""

import json
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

from ckpt_core.codecs.gc_pause import without_collection
from ckpt_core.codecs.heads.safetensors import LENGTH_BYTES, MAX_HEADER, sniff_safetensors
from ckpt_core.codecs.strict_json import DuplicateKeyError, NotAnObjectError, parse_object
from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import BY_CODE, DType
from ckpt_core.schema.tensors import ByteRange, Chunk, TensorEntry, TensorInfo, TensorTable
from ckpt_core.schema.text import printable

ALIASES = "ckpt.aliases"
"""Key in the metadata: a JSON map from each name that is left out to the tensor that is the same."""


_KEYS = {"dtype", "shape", "data_offsets"}


class SafetensorsFile(NamedTuple):
    """The content of a header: tensors and metadata.

    The tensors are in the order of their bytes; the metadata are the strings of `__metadata__`.
    """

    path: str
    tensors: TensorTable
    metadata: Mapping[str, str]


def read_safetensors(files: Files, path: str) -> SafetensorsFile:
    """Return the table of a safetensors file.

    Only the header is read.

    Raises:
        CorruptError: The file breaks a rule of the format; the message says which, and names the tensor.
    """
    size = files.size(path)
    if not sniff_safetensors(files.head(path)):
        _refuse_others(files, path, size)
    header_end = LENGTH_BYTES + _header_length(files, path, size)
    head = files.head(path)
    raw = (
        head[LENGTH_BYTES:header_end]
        if header_end <= len(head)
        else files.read(path, LENGTH_BYTES, header_end - LENGTH_BYTES)
    )
    with without_collection():
        header = _parse(path, raw)
        return _checked(path, header, header_end, size)


def _refuse_others(files: Files, path: str, size: int) -> None:
    """Raise FM001 for a file that is recognised as another's.

    It is asked only of a file that begins like no safetensors file.
    """
    from ckpt_core.codecs.foreign.errors import not_ours

    error = not_ours(path, files.head(path), size)
    if error is not None:
        raise error


def _checked(path: str, header: dict[str, Any], header_end: int, size: int) -> SafetensorsFile:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt("ST003", path, "__metadata__ is not a map of strings")
    infos = _infos(path, header, header_end, size - header_end)
    infos.update(_aliases(path, metadata.pop(ALIASES, None), infos))
    return SafetensorsFile(path, TensorTable.of_infos(infos, entry=_entry), metadata)


def _header_length(files: Files, path: str, size: int) -> int:
    head = files.head(path)
    if size < LENGTH_BYTES:
        raise _corrupt("ST001", path, f"the file has {size} bytes, too few for a header (truncated?)")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > MAX_HEADER:
        raise _corrupt("ST001", path, f"the header claims {length} bytes; the format allows {MAX_HEADER}")
    if length > size - LENGTH_BYTES:
        raise _corrupt("ST001", path, f"the header claims {length} bytes, the file has {size} (truncated?)")
    return length


def _parse(path: str, raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise _corrupt("ST002", path, "the header does not start with {")
    try:
        return parse_object(raw)
    except DuplicateKeyError as error:
        raise _corrupt("ST004", path, f"the header has the key {printable(error.key)!r} twice") from None
    except NotAnObjectError as error:
        raise _corrupt("ST002", path, f"the header is {error}") from None


def _infos(path: str, header: dict[str, Any], data_start: int, data_size: int) -> dict[str, TensorInfo]:
    """Return the info of each tensor, in byte order.

    They are proved to lie end to end.
    """
    spans = [_checked_span(path, name, info) for name, info in header.items()]
    spans.sort()
    infos: dict[str, TensorInfo] = {}
    at, last = 0, ""
    for start, end, last in spans:
        if start != at:
            what = "overlaps the tensor before it" if start < at else f"leaves a hole of {start - at} bytes before it"
            raise _corrupt("ST006", path, f"tensor {printable(last)} {what}", last)
        at = end
        info = header[last]
        infos[last] = TensorInfo(BY_CODE[info["dtype"]], tuple(info["shape"]), path, data_start + start)
    if at > data_size:
        missing = f"tensor {printable(last)} ends {at - data_size} bytes after the file (truncated?)"
        raise _corrupt("ST007", path, missing, last)
    if at < data_size:
        raise _corrupt("ST008", path, f"{data_size - at} bytes follow the last tensor")
    return infos


def _checked_span(path: str, name: str, info: Any) -> tuple[int, int, str]:
    """Return the start and end of a tensor's data.

    They are proved to be what its dtype and shape need; its name comes third.
    """
    if type(info) is not dict or info.keys() != _KEYS:
        raise _corrupt("ST005", path, f"tensor {printable(name)}: its entry is not dtype, shape and data_offsets", name)
    code, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    dtype = BY_CODE.get(code) if type(code) is str else None
    if dtype is None or dtype is DType.C128:
        raise _corrupt("ST005", path, f"tensor {printable(name)}: dtype {printable(str(code))} is unknown", name)
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _corrupt("ST005", path, f"tensor {printable(name)}: shape or offsets are not natural numbers", name)
    bits = dtype.bits * prod(shape)
    start, end = offsets
    if bits % 8 or end - start != bits // 8:
        claim = f"{dtype.code} of shape {printable(str(shape), 80)} is not {end - start} bytes"
        raise _corrupt("ST005", path, f"tensor {printable(name)}: {claim}", name)
    return start, end, name


def _are_sizes(values: Any) -> bool:
    if type(values) is not list:
        return False
    return all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _aliases(path: str, text: str | None, infos: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Return the tensors that the file stores under another name.

    Our writer leaves such a name out, and puts it under `ckpt.aliases` in the metadata.
    """
    if text is None:
        return {}
    try:
        aliases = json.loads(text)
        infos_of_aliases = {name: infos[first]._replace(alias_of=first) for name, first in aliases.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        infos_of_aliases = None
    if infos_of_aliases is None or not infos.keys().isdisjoint(infos_of_aliases):
        raise _corrupt("ST010", path, f"{ALIASES} in the metadata does not name tensors of this file")
    return infos_of_aliases


def _entry(info: TensorInfo) -> TensorEntry:
    assert info.path is not None
    stored = ByteRange(info.path, info.offset, info.nbytes)
    chunk = Chunk((0,) * len(info.shape), info.shape, stored)
    return TensorEntry(info.dtype, info.shape, (chunk,), info.alias_of)


def _corrupt(code: str, path: str, reason: str, tensor: str | None = None) -> CorruptError:
    return CorruptError(f"{printable(path)}: {reason}", code=code, path=path, tensor=tensor)
