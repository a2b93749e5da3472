"""What gives access to bytes: the listing of a place, a checkpoint, and a target to write one to. Abstract here."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.locations import Location
from ckpt_core.schema.manifests import Manifest
from ckpt_core.schema.tensors import Box, ByteRange

HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file of a listing: its path relative to the root, its size in bytes."""

    path: str
    size: int


class Files(ABC):
    """A listing taken once, and ranged reads of the files in it.

    Paths are relative to the root, with `/`. Only regular files are listed. Reading a path that is not listed raises
    CorruptError where a listed file named it: no name leads out of the root.
    """

    location: Location

    @property
    @abstractmethod
    def entries(self) -> Mapping[str, FileEntry]:
        """Every regular file below the root, dot-files too, sorted by path."""

    @property
    @abstractmethod
    def skipped(self) -> Mapping[str, str]:
        """What was left out of the listing (links that lead away, pipes, unreadable folders), each with its reason."""

    @abstractmethod
    def head(self, path: str) -> bytes:
        """The first 64 KiB of a file, or all of a shorter one; read once."""

    @abstractmethod
    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        """Fill `out` from byte `offset`. CorruptError where the file ends before that."""

    @abstractmethod
    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        """The bytes of each range, in the order asked; remote stores are asked for many at once."""

    @abstractmethod
    def below(self, root: str) -> "Files":
        """The part of this listing below a directory of it."""

    def size(self, path: str) -> int:
        """Size in bytes. KeyError where the listing has no such file."""
        return self.entries[path].size

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file; to its end where `length` is None."""
        if length is None:
            length = self.size(path) - offset
        out = bytearray(length)
        self.read_into(path, offset, memoryview(out))
        return bytes(out)

    def local_path(self, path: str) -> str | None:
        """The file's path on this machine, checked to be the listed regular file; None where it has none."""
        return None


class Checkpoint(ABC):
    """A checkpoint whose manifest is known and whose tensors are read when asked for.

    Attributes:
        location: Where it is.
        match: The format's claim that it was opened by.
        manifest: All that is known without reading a tensor.
    """

    location: Location
    match: FormatMatch
    manifest: Manifest

    @abstractmethod
    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        """The elements of a tensor, or of a box of it, as row-major little-endian bytes.

        Args:
            component: Label of the component.
            name: Name of the tensor in it.
            box: Offsets and sizes in elements; None for the whole tensor.
            out: Writable bytes to fill, exactly as long as the result; None for new memory.
        """


class Target(ABC):
    """A staged place to write a checkpoint to, in a format. `options` are the format's own, as it declares them."""

    location: Location
    format: str
    options: Mapping[str, Any]
