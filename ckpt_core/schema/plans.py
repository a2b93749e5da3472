"""What is to be written: files, each a list of sections in order. A format makes the plan, storage executes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.schema.state import State
from ckpt_core.schema.tensors import Box

TensorKey = tuple[str, str]
"""Label of a component and name of a tensor in it."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that are known already."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class TensorBytes:
    """Elements of a tensor of the checkpoint being written: row-major, little-endian.

    A plan may have a tensor at several places, whole or in boxes; together they must hold all of it.

    Attributes:
        component: Label of the component.
        name: Name of the tensor in it.
        length: In bytes.
        box: Offsets and sizes of the part that stands here, in elements; None for the whole tensor.
    """

    component: str
    name: str
    length: int
    box: Box | None = None

    @property
    def key(self) -> TensorKey:
        return self.component, self.name


@dataclass(frozen=True, slots=True)
class LateBytes:
    """A few bytes that depend on the tensors' checksums: made when those are known, of a length known before.

    `make` is given the CRC-32 of each `TensorBytes` section of the same file; of `of` alone, where that is given.

    Attributes:
        of: The one section that they depend on, so that they can be made as soon as it is written; None for all.
    """

    length: int
    make: Callable[[Mapping[TensorBytes, int]], bytes]
    of: TensorBytes | None = None


@dataclass(frozen=True, slots=True)
class AssetBytes:
    """A file of the checkpoint's listing, carried over unchanged."""

    path: str
    length: int


Section = Literal | TensorBytes | LateBytes | AssetBytes


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One file: its path below the destination, its sections in order, and whether the CRC-32 of tensors is needed."""

    path: str
    sections: tuple[Section, ...]
    checksums: bool = False

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(section.length for section in self.sections)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Every file of a checkpoint in a format. A format of one file plans one, under the name the target gives.

    Attributes:
        files: The files.
        restated: The state that a config has in them where it is not that of the checkpoint, by label: one that names
            the type of the weights, which were cast. Of other components all state must stay as it is.
    """

    files: tuple[FilePlan, ...]
    restated: Mapping[str, State] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Written:
    """What the writer saw of a tensor: its digest as it was read, and as it was written.

    `crcs` has the CRC-32 of each of its sections, in the plan's order, 0 where the file needs none.
    """

    source: str
    target: str
    crcs: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, plain: Sequence[Any]) -> "Written":
        """The one that `plain` made the values of."""
        source, target, crcs = plain
        return cls(source, target, tuple(crcs))

    def plain(self) -> list[Any]:
        """Its values, as JSON can carry them."""
        return [self.source, self.target, list(self.crcs)]
