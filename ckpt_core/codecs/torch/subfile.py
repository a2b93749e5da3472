"""A range of a file seen as a file of its own: what reads it cannot read a byte outside of the range."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckpt_core.schema.access import HEAD_BYTES, FileEntry, Files, TensorsIn
from ckpt_core.schema.byte_consumers import Sum
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.range_checks import check_range, not_listed


class ItemFiles(Files):
    """The listing of one range, under the name of the file that it is in.

    Raises:
        CorruptError: CK004, the range leaves its file.
    """

    def __init__(self, files: Files, stored: ByteRange) -> None:
        if stored.path not in files.entries:
            raise not_listed(stored.path, files.skipped)
        check_range(stored.path, stored.offset, stored.length, files.size(stored.path))
        self.location = files.location
        self._files = files
        self._stored = stored
        self._entries = {stored.path: FileEntry(stored.path, stored.length)}
        self._head: bytes | None = None

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    def head(self, path: str) -> bytes:
        if self._head is None:
            self._head = self.read(path, 0, min(self._stored.length, HEAD_BYTES))
        return self._head

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        self._files.read_into(path, self._stored.offset + offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            check_range(wanted.path, wanted.offset, wanted.length, self.size(wanted.path))
        shift = self._stored.offset
        return self._files.read_many([ByteRange(r.path, r.offset + shift, r.length) for r in ranges])

    def expect(self, sums: Iterable[Sum], tensors_in: TensorsIn | None = None) -> None:
        shift = self._stored.offset
        self._files.expect([one._replace(start=one.start + shift, end=one.end + shift) for one in sums])

    def below(self, root: str) -> "Files":
        return self
