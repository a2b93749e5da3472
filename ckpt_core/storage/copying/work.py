"""The work of a copy: files in parts.

Each part is read once, compared with every checksum, and digested as it moves.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

import xxhash

from ckpt_core.schema.access import Files
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.storage.copying.whole_sums import WholeSums
from ckpt_core.storage.digests import BLOCK, block_digest, seal_of
from ckpt_core.storage.workers import check_stop, run

PartKey = tuple[str, int]
"""The path of a file, and the number of a part of it, from 1."""


class FilePart(NamedTuple):
    """A part of a file, which starts at a block.

    The blocks are those of the seal; `length` is in bytes.
    """

    path: str
    number: int
    offset: int
    length: int

    @property
    def key(self) -> PartKey:
        return self.path, self.number

    @property
    def end(self) -> int:
        return self.offset + self.length


class CopyWork:
    """Files of a listing, in parts.

    Args:
        files: The listing; what it checks is checked.
        paths: The files that are copied.
        part_bytes: Bytes of each part, but the last, of a file so long: a multiple of 1 MiB.
        name: What the copy is called where the listing is one file.
    """

    def __init__(self, files: Files, paths: Sequence[str], part_bytes: Callable[[int], int], name: str | None) -> None:
        self.files, self.paths = files, tuple(paths)
        self._part_bytes = part_bytes
        self._name = name
        self.parts = [part for path in self.paths for part in self._parts_of(path)]
        self.sums = WholeSums(files, self.paths)

    def _parts_of(self, path: str) -> list[FilePart]:
        size = self.files.size(path)
        step = self._part_bytes(size)
        starts = enumerate(range(0, size, step), 1)
        return [FilePart(path, number, at, min(step, size - at)) for number, at in starts]

    @property
    def nbytes(self) -> int:
        return sum(map(self.files.size, self.paths))

    def named(self, path: str) -> str:
        """The path that a file has in the copy."""
        return path if self._name is None else self._name

    def digest(self) -> str:
        """Return a digest that is the same for the same work.

        The same files, content and parts; "" where nothing tells it.
        """
        listed = [(path, self.files.size(path), self.files.version(path)) for path in self.paths]
        if not all(version for _, size, version in listed if size):
            return ""
        parts = [part.length for part in self.parts]
        text = repr((listed, parts, self._name)).encode("utf-8", "surrogatepass")
        return str(xxhash.xxh3_128(text).hexdigest())

    def read(self, part: FilePart, out: memoryview) -> bytes:
        """Fill `out` with a part, and return its blocks' digests.

        Each has 16 bytes. Raises as a read of the listing.
        """
        self.files.read_into(part.path, part.offset, out)
        self.sums.see(part.path, part.offset, out)
        return digests_of(out)

    def checked_by(self) -> str:
        """Return the names of what the read bytes were compared with."""
        sums = [f"the {name} of each file at its place" for name in self.sums.algorithms]
        others = self.files.checked_by()
        return " and ".join([*([] if sums and others.startswith("nothing") else [others]), *sums])

    def seals(self, blocks: Mapping[PartKey, bytes]) -> dict[str, FileSeal]:
        """Return the seal of each file, by its path in the copy.

        They come from the digests of the blocks of every part.
        """
        found: dict[str, list[bytes]] = {path: [] for path in self.paths}
        for part in self.parts:
            found[part.path].append(blocks[part.key])
        return {self.named(path): seal_of(self.files.size(path), b"".join(own)) for path, own in found.items()}


def digests_of(data: memoryview) -> bytes:
    """The digests of the blocks of a part, which starts at one."""
    return b"".join(block_digest(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK))


def each(work: Callable[[FilePart, memoryview], None], parts: Sequence[FilePart], workers: int) -> None:
    """Do all parts, in order, by so many threads.

    Each takes the next that is left, and has one buffer for all.

    Memory: a part for each thread.
    """
    left, lock = iter(parts), Lock()
    longest = max((part.length for part in parts), default=0)

    def take(_: list[int]) -> None:
        buffer = memoryview(bytearray(longest))
        while True:
            check_stop()
            with lock:
                part = next(left, None)
            if part is None:
                return
            work(part, buffer[: part.length])

    run(take, [[number] for number in range(min(workers, len(parts)))])
