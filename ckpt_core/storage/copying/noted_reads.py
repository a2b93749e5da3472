"""A listing that notes which of its files are read.

They are those that a layout needs to be opened.
"""

from collections.abc import Iterator, Sequence

from ckpt_core.schema.access import Files
from ckpt_core.schema.tensors import ByteRange, under
from ckpt_core.storage.files.wrapped import WrappedFiles


class NotedReads(WrappedFiles):
    """A listing that notes the paths of what is read.

    Args:
        inner: The listing.
        prefix: Where it lies in the whole.
        read: The paths that were read, in the whole; shared with the listings below.
    """

    def __init__(self, inner: Files, prefix: str = "", read: set[str] | None = None) -> None:
        super().__init__(inner)
        self._prefix = prefix
        self.read_paths: set[str] = set() if read is None else read

    def head(self, path: str) -> bytes:
        self._note(path)
        return self.inner.head(path)

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        self._note(path)
        self.inner.read_into(path, offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            self._note(wanted.path)
        return self.inner.read_many(ranges)

    def local_path(self, path: str) -> str | None:
        self._note(path)
        return self.inner.local_path(path)

    def below(self, root: str) -> Files:
        folder = root.rpartition("/")[0] if root in self.inner.entries else root.rstrip("/")
        prefix = under(self._prefix, folder) if folder else self._prefix
        return NotedReads(self.inner.below(root), prefix, self.read_paths) if root else self

    def _note(self, path: str) -> None:
        self.read_paths.add(under(self._prefix, path) if self._prefix else path)
