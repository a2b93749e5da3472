"""Plans a distributed checkpoint.

Each tensor is cut along its rows as FSDP2 shards it, its parts in a file a rank.

Rows are dealt out as torch.chunk does: as many to each rank as the first one gets, fewer or none to the last ones.
Values that are no tensors, and tensors without rows, are in the file of rank 0. `.metadata` comes last.

What lies in the memory of several ranks is cut as they hold it: each box goes to the file of the rank that owns it. A
rank that does not know of all boxes plans its own file whole, and those of others in part.

Source: torch, `torch/distributed/checkpoint/filesystem.py` (_write_item), `torch/distributed/tensor/placement_types.py`
(Shard).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

from ckpt_core import (
    AssetBytes,
    Checkpoint,
    Component,
    FilePlan,
    Literal,
    Manifest,
    Target,
    TensorBytes,
    UnsupportedFormatError,
    UsageError,
    WritePlan,
    argument,
    marked,
    option,
)
from ckpt_core.codecs import plan_object, plan_tensor_item
from ckpt_fsdp.dcp.detection import METADATA, SUFFIX
from ckpt_fsdp.dcp.flattening import flatten
from ckpt_fsdp.dcp.metadata_writer import Box, WrittenItem, WrittenTensor, write_metadata
from ckpt_fsdp.dcp.nesting import Path
from ckpt_fsdp.dcp.opening import KEYS

_BARE = ("model", "optimizer")
"""Components that are told from their content alone, without a key above them."""


def write(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write a checkpoint as `dcp.save` lays it out.

    Raises:
        UnsupportedFormatError: Torch has no such element type, or plain state is of a class that is not known here.
        UsageError: An option has a value that it cannot have.
    """
    ranks = target.options.get("ranks", 1)
    if ranks < 1:
        raise UsageError(f"{option('ranks', ranks)}: tensors are spread over at least one file")
    components = checkpoint.manifest.components
    flat = flatten(components, _keys(checkpoint, target.options))
    files = _Files(ranks, live=checkpoint.in_memory)
    for key, (component, value) in flat.values.items():
        files.add_value(key, component, value)
    tensors = {key: files.add_tensor(key, component, name) for key, (component, name) in flat.tensors.items()}
    metadata = write_metadata(flat, tensors, files.items)
    plan = (*files.plans(), *_assets(checkpoint), FilePlan(METADATA, (Literal(metadata),)))
    return target.write(WritePlan(plan), checkpoint)


def rows_of_ranks(shape: Sequence[int], ranks: int) -> Iterator[tuple[int, int, int]]:
    """Yield rank, first row and row count of each part.

    A tensor without rows is one part of rank 0.
    """
    if not shape or not shape[0]:
        yield 0, 0, shape[0] if shape else 1
        return
    share = -(-shape[0] // ranks)
    for rank, start in enumerate(range(0, shape[0], share)):
        yield rank, start, min(share, shape[0] - start)


@lru_cache(maxsize=1024)
def _boxes_of_ranks(shape: tuple[int, ...], ranks: int) -> list[tuple[int, Box]]:
    """Return rank and box of each part.

    Those of tensors of one shape are the same objects.
    """
    ndim, inner = len(shape), shape[1:]
    parts = rows_of_ranks(shape, ranks)
    return [
        (rank, ((start, *(0 for _ in inner)), (count, *inner)) if ndim else ((), ())) for rank, start, count in parts
    ]


def _keys(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Mapping[str, Path]:
    """Return the keys above each component.

    A component that came from dcp keeps the keys it had; any other has its label.
    """
    components = checkpoint.manifest.components
    if not options.get("flat", False):
        kept: Mapping[str, Path] = checkpoint.manifest.provenance.get(KEYS, {})
        return kept if checkpoint.match.format == "dcp" else {}
    labels = [component.label for component in components]
    if len(labels) != 1 or labels[0] not in _BARE:
        raise UsageError(
            f"{option('flat')}: of several components nobody could tell whose keys are whose, "
            f"and this has {', '.join(labels)}; "
            f"choose one with {argument('components', ['model'])}"
        )
    return {labels[0]: ()}


@dataclass(slots=True)
class _File:
    sections: list[Any] = field(default_factory=list)
    size: int = 0


class _Files:
    """The files of the ranks as they fill, and their items.

    Attributes:
        items: In the order in which they were added.
    """

    def __init__(self, ranks: int, *, live: bool = False) -> None:
        self.items: list[WrittenItem] = []
        self._ranks = ranks
        self._live = live
        self._files: dict[int, _File] = {}
        self._twins: dict[tuple[str, str], list[WrittenItem]] = {}

    def add_value(self, key: str, component: Component, value: Any) -> None:
        """Add a value that is no tensor."""
        self.items.append(self._put(key, None, 0, plan_object(value, component)))

    def add_tensor(self, key: str, component: Component, name: str) -> WrittenTensor:
        """Add a tensor in its parts.

        One that shares its storage with another gets no items but that one's.
        """
        info = component.tensors.info(name)
        written = WrittenTensor(info.dtype, info.shape)
        first = (component.label, info.alias_of or name)
        if first not in self._twins:
            self._twins[first] = list(self._parts(key, component, name, written))
        items = self._twins[first]
        self.items += items if not items or items[0].key == key else [item._replace(key=key) for item in items]
        written.boxes += [item.box for item in items]
        return written

    def plans(self) -> Iterator[FilePlan]:
        for rank, file in sorted(self._files.items()):
            yield FilePlan(f"__{rank}_0{SUFFIX}", tuple(file.sections), checksums=True)

    def _parts(self, key: str, component: Component, name: str, tensor: WrittenTensor) -> Iterator[WrittenItem]:
        for rank, box in self._boxes(component, name, tensor.shape):
            whole = box[1] == tensor.shape
            content = TensorBytes(component.label, name, tensor.dtype.nbytes(prod(box[1])), None if whole else box)
            try:
                sections = plan_tensor_item(content, tensor.dtype, box[1])
            except UnsupportedFormatError as error:
                raise UnsupportedFormatError(f"{key}: {marked(error.message)}", tensor=name) from None
            yield self._put(key, box, rank, sections)

    def _boxes(self, component: Component, name: str, shape: tuple[int, ...]) -> Sequence[tuple[int, Box]]:
        owned = component.tensors[name].chunks if self._live else ()
        if not self._live or any(chunk.owner is None for chunk in owned):
            return _boxes_of_ranks(shape, self._ranks)
        if self._ranks > 1:
            raise UsageError(f"{option('ranks', self._ranks)}: every rank writes a file of its own; leave it out")
        return [(chunk.owner or 0, (chunk.offsets, chunk.sizes)) for chunk in owned]

    def _put(self, key: str, box: Any, rank: int, sections: Sequence[Any]) -> WrittenItem:
        file = self._files.setdefault(rank, _File())
        start = file.size
        file.sections += sections
        file.size += sum(section.length for section in sections)
        return WrittenItem(key, box, f"__{rank}_0{SUFFIX}", start, file.size - start)


def _assets(checkpoint: Checkpoint) -> Iterator[FilePlan]:
    """Yield the files that lay beside the shards.

    What other formats carry along has no meaning here.
    """
    if checkpoint.match.format == "dcp":
        for asset in checkpoint.manifest.assets:
            yield FilePlan(asset.path, (AssetBytes(asset.path, asset.size),))
