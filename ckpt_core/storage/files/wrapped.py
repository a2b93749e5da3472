"""A listing that answers as another one does.

It stands before it; what is to be otherwise is overridden.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ckpt_core.schema.access import FileEntry, Files, TensorsIn
from ckpt_core.schema.byte_consumers import Sum
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.tensors import ByteRange


class WrappedFiles(Files):
    """A listing that passes every question on.

    Args:
        inner: The listing that is asked, by the same paths.
    """

    def __init__(self, inner: Files) -> None:
        self.inner = inner
        self.location = inner.location

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self.inner.entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return self.inner.skipped

    @property
    def empty(self) -> Collection[str]:
        return self.inner.empty

    @property
    def debris(self) -> Mapping[str, str]:
        return self.inner.debris

    @property
    def generation(self) -> str:
        return self.inner.generation

    def link_end(self, path: str) -> str | None:
        return self.inner.link_end(path)

    def head(self, path: str) -> bytes:
        return self.inner.head(path)

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        self.inner.read_into(path, offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        return self.inner.read_many(ranges)

    def below(self, root: str) -> Files:
        return self.inner.below(root)

    def beside(self, name: str) -> bytes | None:
        return self.inner.beside(name)

    def expect(self, sums: Iterable[Sum], tensors_in: TensorsIn | None = None) -> None:
        self.inner.expect(sums, tensors_in)

    def prove(self, ranges: Iterable[ByteRange]) -> None:
        self.inner.prove(ranges)

    def finish(self) -> None:
        self.inner.finish()

    def damage(self) -> list[tuple[Finding, ByteRange, bool]]:
        return self.inner.damage()

    @property
    def accepts_damage(self) -> bool:
        return self.inner.accepts_damage

    def checked_by(self) -> str:
        return self.inner.checked_by()

    def size(self, path: str) -> int:
        return self.inner.size(path)

    def version(self, path: str) -> str:
        return self.inner.version(path)

    def whole_sum(self, path: str) -> str:
        return self.inner.whole_sum(path)

    def cached(self, path: str) -> str | None:
        return self.inner.cached(path)

    def keep(self, path: str, local: str) -> None:
        self.inner.keep(path, local)

    def local_path(self, path: str) -> str | None:
        return self.inner.local_path(path)

    def is_remote(self, path: str) -> bool:
        return self.inner.is_remote(path)

    def opened(self, path: str, descriptor: int) -> None:
        self.inner.opened(path, descriptor)

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        self.inner.check_unchanged(failed=failed, suspects=suspects)
