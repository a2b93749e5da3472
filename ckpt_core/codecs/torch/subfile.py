"""Presents a range of a file as a file.

What reads it cannot read a byte outside of the range.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckpt_core.schema.access import HEAD_BYTES, FileEntry, Files, TensorsIn
from ckpt_core.schema.byte_consumers import Sum
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.range_checks import check_range, not_listed
from ckpt_core.storage.files.wrapped import WrappedFiles


class ItemFiles(WrappedFiles):
    """The listing of one range.

    It lies under the name of the file that it is in, with nothing beside it.

    Raises:
        CorruptError: CK004, the range leaves its file.
    """

    def __init__(self, files: Files, stored: ByteRange) -> None:
        if stored.path not in files.entries:
            raise not_listed(stored.path, files.skipped)
        check_range(stored.path, stored.offset, stored.length, files.size(stored.path))
        super().__init__(files)
        self._stored = stored
        self._entries = {stored.path: FileEntry(stored.path, stored.length)}
        self._head: bytes | None = None

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    @property
    def debris(self) -> Mapping[str, str]:
        return {}

    def size(self, path: str) -> int:
        return self._entries[path].size

    def local_path(self, path: str) -> None:
        return None

    def beside(self, name: str) -> None:
        return None

    def head(self, path: str) -> bytes:
        if self._head is None:
            self._head = self.read(path, 0, min(self._stored.length, HEAD_BYTES))
        return self._head

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        self.inner.read_into(path, self._stored.offset + offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            check_range(wanted.path, wanted.offset, wanted.length, self.size(wanted.path))
        return self.inner.read_many([self._placed(wanted) for wanted in ranges])

    def expect(self, sums: Iterable[Sum], tensors_in: TensorsIn | None = None) -> None:
        shift = self._stored.offset
        self.inner.expect([one._replace(start=one.start + shift, end=one.end + shift) for one in sums])

    def prove(self, ranges: Iterable[ByteRange]) -> None:
        self.inner.prove([self._placed(wanted) for wanted in ranges])

    def _placed(self, wanted: ByteRange) -> ByteRange:
        return ByteRange(wanted.path, self._stored.offset + wanted.offset, wanted.length)

    def below(self, root: str) -> "Files":
        return self
