"""What wants to see the bytes of a file as they are walked over once, and what it found in them."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.findings import Finding

BLOCK = 1 << 20
"""Bytes of a block. Damage is named by its block; a digest of 16 bytes for each costs nothing."""


class ByteConsumer(Protocol):
    """Something that wants to see a stretch of a file: all of it, in order, in pieces of any length.

    Attributes:
        path: The file.
        start: The first byte it wants.
        end: The byte after the last.
    """

    @property
    def path(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...

    def see(self, data: memoryview) -> None:
        """The next piece; valid during the call only."""

    def fail(self, error: "CkptError") -> None:
        """A read failed in the stretch: it will see no more."""


class Sum(NamedTuple):
    """The CRC-32 of a stretch of a file, from `start` to before `end`, and the finding where it does not hold."""

    path: str
    start: int
    end: int
    crc: int
    damage: "Callable[[], Finding]"


class Checksum(ByteConsumer, Protocol):
    """A watch that compares what it saw with a checksum that the file has."""

    def findings(self) -> "Iterable[Finding]":
        """What is wrong, or cannot be told, once all was seen."""

    def sums(self) -> "Iterable[Sum]":
        """The same for reads in any order: none where that cannot be, as of what is compressed."""


class Noted:
    """A finding that needs no byte of the file, among those that do."""

    def __init__(self, finding: "Finding") -> None:
        self._finding = finding
        self.path, self.start, self.end = finding.path or "", 0, 0

    def see(self, data: memoryview) -> None:
        """Nothing is asked for."""

    def fail(self, error: "CkptError") -> None:
        """Nothing is read."""

    def findings(self) -> "Iterable[Finding]":
        return (self._finding,)

    def sums(self) -> "Iterable[Sum]":
        return ()


OnBlock = Callable[[str, int, memoryview], None]
"""Told of each whole block of 1 MiB: path, number, bytes. Several workers call it."""
