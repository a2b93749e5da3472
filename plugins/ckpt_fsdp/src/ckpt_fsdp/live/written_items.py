"""Places the items of torch's save plans in files.

The `.metadata` says where, and a reader proves it.

A rank writes its items into one file: values that are no tensors first, as torch does, then boxes of tensors.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch.distributed.checkpoint import BytesStorageMetadata, Metadata, SavePlan, SavePlanner
from torch.distributed.checkpoint.planner import WriteItem, WriteItemType

from ckpt_core import (
    Component,
    CorruptError,
    DType,
    FilePlan,
    Literal,
    StoredCheckpoint,
    TensorBytes,
    UnsupportedFormatError,
    UsageError,
    argument,
    marked,
    printable,
)
from ckpt_core.codecs import BY_DTYPE_NAME, plan_tensor_item
from ckpt_core.training import Receipt
from ckpt_fsdp.dcp.detection import METADATA, SUFFIX
from ckpt_fsdp.dcp.flattening import Flat
from ckpt_fsdp.dcp.metadata_writer import Box, WrittenItem, WrittenTensor, write_metadata
from ckpt_fsdp.dcp.nesting import Path
from ckpt_fsdp.live.stored_keys import keys_of

_SHARE = "model"
"""The component by which the sections of a share name their tensors."""


_Range = tuple[str, int, int]
"""File, offset and length in bytes."""


class Placed(NamedTuple):
    """An item in its file, and the name of its digest.

    The receipt of its rank has that, where the item is a whole tensor; else the name is empty.
    """

    item: WrittenItem
    name: str


@dataclass(slots=True)
class Share:
    """The items of one rank, in its file.

    Attributes:
        path: Its file.
        items: In the order of the file.
        tensors: Those of its items, by the names in the file's sections.
    """

    path: str
    items: list[tuple[WriteItem, Placed]] = field(default_factory=list)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    sections: list[Any] = field(default_factory=list)
    size: int = 0

    @property
    def files(self) -> list[FilePlan]:
        """The file; none where this rank has no item."""
        return [FilePlan(self.path, tuple(self.sections), checksums=True)] if self.items else []

    def add(self, item: WriteItem, key: str, box: Box | None, name: str, sections: Iterable[Any]) -> None:
        start = self.size
        for section in sections:
            self.sections.append(section)
            self.size += section.length
        placed = WrittenItem(key, box, self.path, start, self.size - start)
        self.items.append((item, Placed(placed, name)))


def path_of(rank: int) -> str:
    """Return the path of a rank's file."""
    return f"__{rank}_0{SUFFIX}"


def share_of(plan: SavePlan, planner: SavePlanner, rank: int) -> Share:
    """Return the share of a plan that a rank writes.

    Raises:
        UnsupportedFormatError: A value is not plain, or torch's type has no name here.
        UsageError: The planner gives another tensor than it has planned.
    """
    share, plain = Share(path_of(rank)), set[bytes]()
    for item in plan.items:
        if item.type is WriteItemType.BYTE_IO:
            data = planner.resolve_data(item).getvalue()
            if data not in plain:
                _refuse_odd(item.index.fqn, data)
                plain.add(data)
            share.add(item, item.index.fqn, None, "", [Literal(data)])
    for item in plan.items:
        if item.type is not WriteItemType.BYTE_IO:
            _add_tensor(share, item, planner.resolve_data(item).detach())
    return share


def _add_tensor(share: Share, item: WriteItem, tensor: torch.Tensor) -> None:
    key, chunk = item.index.fqn, item.tensor_data.chunk
    box = tuple(chunk.offsets), tuple(chunk.sizes)
    planned = item.tensor_data.properties.dtype
    if (tensor.dtype, tuple(tensor.shape)) != (planned, box[1]):
        raise UsageError(
            f"{printable(key)}: the planner planned {planned} of {box[1]} and gives {tensor.dtype} of "
            f"{tuple(tensor.shape)}; give one that plans what it writes"
        )
    dtype, whole = dtype_of(planned, key), box[1] == tuple(item.tensor_data.size)
    name = key if whole else f"{key}@{','.join(map(str, box[0]))}"
    content = TensorBytes(_SHARE, name, dtype.nbytes(prod(box[1])))
    try:
        sections = plan_tensor_item(content, dtype, box[1])
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(f"{printable(key)}: {marked(error.message)}", tensor=key) from None
    share.tensors[name] = tensor
    share.add(item, key, box, name if whole else "", sections)


def dtype_of(dtype: torch.dtype, key: str) -> DType:
    """Return our type of torch's.

    UnsupportedFormatError where it has no name here.
    """
    found = BY_DTYPE_NAME.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise UnsupportedFormatError(
            f"{printable(key)}: a tensor of {dtype} cannot be saved; make it plain", tensor=key
        )
    return found


def _refuse_odd(key: str, data: bytes) -> None:
    """Refuse a value that no safe reader takes.

    It was pickled by this very process a moment ago.
    """
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line), str(error).partition("\n")[0])
        raise UnsupportedFormatError(
            f"{printable(key)}: its value needs a pickle that runs code ({printable(reason, 120)}); turn it into "
            "plain data, or leave it out"
        ) from None


def metadata_of(metadata: Metadata, placed: Sequence[Placed]) -> bytes:
    """Return the `.metadata` of planned items in their places.

    Raises:
        CorruptError: An item was planned and not written.
        UnsupportedFormatError: The planner keeps something of its own that no safe reader takes.
    """
    lying = {(one.item.key, one.item.box and one.item.box[0]): one.item for one in placed}
    flat = Flat(paths=_ways(metadata))
    tensors: dict[str, WrittenTensor] = {}
    items: list[WrittenItem] = []
    for key, said in metadata.state_dict_metadata.items():
        boxes: list[Box | None] = [None]
        if not isinstance(said, BytesStorageMetadata):
            boxes = [(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in said.chunks]
            tensors[key] = WrittenTensor(dtype_of(said.properties.dtype, key), tuple(said.size), boxes)
        for box in boxes:
            item = lying.get((key, box and box[0]))
            if item is None:
                raise CorruptError(f"{printable(key)}: was planned, and no rank has written it; nothing was committed")
            items.append(item)
    return write_metadata(flat, tensors, items)


def _ways(metadata: Metadata) -> dict[str, Path]:
    """Return the way to each key.

    A planner that does not flatten keeps none.
    """
    kept: Any = metadata.planner_data or {}
    plain = isinstance(kept, Mapping) and all(
        isinstance(way, tuple) and all(isinstance(step, str | int) for step in way) for way in kept.values()
    )
    if not plain:
        raise UnsupportedFormatError(
            f"{argument('planner')}: it keeps a {type(kept).__name__} in .metadata that no safe reader takes; give one "
            "that keeps torch's own mapping, or nothing"
        )
    return {key: tuple(kept.get(key, (key,))) for key in metadata.state_dict_metadata}


def prove(
    staged: StoredCheckpoint, metadata: Metadata, placed: Sequence[Placed], receipts: Sequence[Receipt]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Compare a reader's view with the written items.

    Yields the digests of components whose tensors were each written whole.

    Raises:
        CorruptError: A box is not where it was put, or a key is missing.
    """
    flat, known = keys_of(staged), _digests(placed, receipts)
    if lost := metadata.state_dict_metadata.keys() - flat.tensors.keys() - flat.values.keys():
        raise _unproved(min(lost), "is not in what was written")
    boxes: dict[str, dict[Box, _Range]] = {}
    for item, _ in placed:
        if item.box is not None:
            boxes.setdefault(item.key, {})[item.box] = item.path, item.offset, item.length
    for key, wanted in boxes.items():
        _prove_boxes(key, wanted, *flat.tensors[key])
    found = {(part.label, name): known.get(key) for key, (part, name) in flat.tensors.items()}
    for part in staged.manifest.components:
        digests = {name: found.get((part.label, name)) for name in part.tensors}
        if None not in digests.values():
            yield from (((part.label, name), str(digest)) for name, digest in digests.items())


def _prove_boxes(key: str, wanted: Mapping[Box, _Range], part: Component, name: str) -> None:
    found = {(chunk.offsets, chunk.sizes): chunk.stored for chunk in part.tensors[name].chunks}
    for box, place in wanted.items():
        stored = found.get(box)
        if stored is None or (stored.path, stored.offset, stored.length) != place:
            raise _unproved(key, f"its box at {box[0]} is not found where it was written")


def _digests(placed: Sequence[Placed], receipts: Sequence[Receipt]) -> dict[str, str]:
    """Return the digests of tensors that one rank wrote whole, by key."""
    by_file = {path: receipt.tensors for receipt in receipts for path in receipt.files}
    return {one.item.key: by_file[one.item.path][one.name] for one in placed if one.name}


def _unproved(key: str, reason: str) -> CorruptError:
    return CorruptError(f"{printable(key)}: {reason}; nothing was committed", code="CA002", tensor=key)


def metadata_file(data: bytes) -> FilePlan:
    """Return the plan of `.metadata`."""
    return FilePlan(METADATA, (Literal(data),))
