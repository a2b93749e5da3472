"""Write plans: files, each a list of sections in order.

A format makes the plan, storage executes it.
"""

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
    """Elements of a tensor to be written, row-major and little-endian.

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
    """A few bytes that depend on the tensors' checksums.

    They are made when those are known; their length is known before. `make` is given the CRC-32 of each `TensorBytes`
    section of the same file; of `of` alone, where that is given.

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
    """One file of a plan, with its sections in order.

    `path` is below the destination; `checksums` asks for the CRC-32 of the tensors.
    """

    path: str
    sections: tuple[Section, ...]
    checksums: bool = False

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(section.length for section in self.sections)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Every file of a checkpoint in a format.

    A format that consists of one file plans one, under the name that the target gives.

    Attributes:
        files: The files.
        restated: The state that a config has in the files where it differs from that of the checkpoint, by label: the
            config names the type of the weights, which were cast. All state of other components must stay as it is.
    """

    files: tuple[FilePlan, ...]
    restated: Mapping[str, State] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Written:
    """The digests of a tensor, as it was read and as written.

    `crcs` has the CRC-32 of each of its sections, in the plan's order, 0 where the file needs none.
    """

    source: str
    target: str
    crcs: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, plain: Sequence[Any]) -> "Written":
        """Make a record from the values that `plain` returns."""
        source, target, crcs = plain
        return cls(source, target, tuple(crcs))

    def plain(self) -> list[Any]:
        """Return the values in a form that JSON can carry."""
        return [self.source, self.target, list(self.crcs)]
