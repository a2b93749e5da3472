"""Protocols of objects that see a file's bytes during one walk.

A checksum is one: it reports what it found in the bytes.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.findings import Finding

BLOCK = 1 << 20
"""Bytes of a block. Damage is named by its block; a digest of 16 bytes for each costs nothing."""


class ByteConsumer(Protocol):
    """An object that is fed one stretch of a file.

    It sees all bytes of the stretch, in order, in pieces of any length.

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
        """Take the next bytes, which are valid during the call only."""

    def fail(self, error: "CkptError") -> None:
        """Take the error of a failed read; no more bytes follow."""


class Sum(NamedTuple):
    """The CRC-32 of a stretch of a file.

    The stretch goes from `start` to before `end`; `damage` makes the finding for a mismatch.
    """

    path: str
    start: int
    end: int
    crc: int
    damage: "Callable[[], Finding]"


class Checksum(ByteConsumer, Protocol):
    """A byte consumer that compares the bytes with a stored checksum."""

    def findings(self) -> "Iterable[Finding]":
        """Return what is wrong or unknown, once all bytes were seen."""

    def sums(self) -> "Iterable[Sum]":
        """Return the checksums for reads in any order.

        None where only a walk in order can be compared, as for compressed bytes.
        """


class Noted:
    """A finding among checksums that needs no bytes."""

    def __init__(self, finding: "Finding") -> None:
        self._finding = finding
        self.path, self.start, self.end = finding.path or "", 0, 0

    def see(self, data: memoryview) -> None:
        """Ignore the bytes: none are asked for."""

    def fail(self, error: "CkptError") -> None:
        """Ignore the error: nothing is read."""

    def findings(self) -> "Iterable[Finding]":
        return (self._finding,)

    def sums(self) -> "Iterable[Sum]":
        return ()


OnBlock = Callable[[str, int, memoryview], None]
"""Told of each whole block of 1 MiB: path, number, bytes. Several workers call it."""
