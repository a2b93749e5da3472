"""Reads the index of a sharded model.

It is a JSON object whose `weight_map` says which file holds which tensor.

Source: transformers `modeling_utils.py` (save_pretrained) and huggingface_hub `serialization/_base.py`. Each file must
be a plain name: an index comes from strangers, and transformers itself follows `../` in one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt_core import CorruptError, Files, UnsafeContentError, knobs, printable
from ckpt_core.codecs import DuplicateKeyError, NotAnObjectError, impostor, parse_object
from ckpt_hf.bagel import COMPANIONS

_LONGEST_NAME = 255
"""Bytes of a file name on the file systems there are."""

_MOST_SHARDS = 10_000
"""The largest models have some hundreds of files."""


@dataclass(frozen=True, slots=True)
class Index:
    """The content of an index.

    Attributes:
        path: The index itself.
        metadata: Its `metadata`: `total_size` in bytes, `total_parameters`, and whatever else.
        weight_map: The file that holds each tensor.
        shards: The tensors that each file holds, in the order of the index.
        companions: Files of another model that it names too; they and their tensors are in neither of the two above.
    """

    path: str
    metadata: Mapping[str, Any]
    weight_map: Mapping[str, str]
    shards: Mapping[str, tuple[str, ...]]
    companions: tuple[str, ...] = ()


def read_index(files: Files, path: str) -> Index:
    """Read and check an index.

    The files it names are not looked at.

    Raises:
        CorruptError: It is not an index, or too large.
    """
    size = files.size(path)
    if size > knobs.header_limit():
        raise _unreadable(path, f"{size} bytes are more than an index may have ({knobs.header_limit()})")
    wrong = impostor(path, files.head(path), size)
    if wrong is not None:
        raise wrong
    content = _parse(path, files.head(path) if size <= len(files.head(path)) else files.read(path))
    weight_map, metadata = content.get("weight_map"), content.get("metadata", {})
    if not isinstance(weight_map, dict) or not all(type(shard) is str for shard in weight_map.values()):
        raise _unreadable(path, "weight_map is not a map from tensors to file names")
    if not weight_map:
        raise _unreadable(path, "weight_map names no tensor")
    if not isinstance(metadata, dict):
        raise _unreadable(path, "metadata is not a JSON object")
    shards: dict[str, list[str]] = {}
    for tensor, shard in weight_map.items():
        shards.setdefault(shard, []).append(tensor)
    if len(shards) > _MOST_SHARDS:
        raise _unreadable(path, f"weight_map names {len(shards)} files, more than a model has ({_MOST_SHARDS})")
    companions = tuple(shard for shard in shards if shard in COMPANIONS)
    own = {shard: tuple(tensors) for shard, tensors in shards.items() if shard not in COMPANIONS}
    mine = {tensor: shard for tensor, shard in weight_map.items() if shard in own} if companions else weight_map
    return Index(path, metadata, mine, own, companions)


def unsafe_names(index: Index) -> list[UnsafeContentError]:
    """Return an error for each unsafe file name.

    A safe one is nothing more than a name.
    """
    return [
        UnsafeContentError(
            f"{printable(index.path)}: names {printable(shard)!r}, which is not a plain file name; it is not opened",
            code="HF007",
            path=index.path,
            hint="take the checkpoint from a source that you trust",
        )
        for shard in index.shards
        if not is_plain(shard)
    ]


def is_plain(name: str) -> bool:
    """Return True for a plain file name.

    On any system it can only mean a file of the same directory.
    """
    if not name or name in (".", "..") or any(char in name for char in "/\\\0"):
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME


def _parse(path: str, raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except DuplicateKeyError as error:
        raise _unreadable(path, f"the key {printable(error.key)!r} comes twice") from None
    except NotAnObjectError as error:
        raise _unreadable(path, f"it is {error}") from None


def _unreadable(path: str, reason: str) -> CorruptError:
    hint = "copy the index again, or have it made anew from the shards"
    return CorruptError(f"{printable(path)}: {reason}; this index cannot be used", code="HF006", path=path, hint=hint)
