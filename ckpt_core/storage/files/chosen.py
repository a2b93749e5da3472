"""Some paths of a listing as a listing of their own.

A checkpoint that shares its folder with others, or a part of one, is opened alone so.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from ckpt_core.schema.access import FileEntry, Files
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.range_checks import not_listed
from ckpt_core.storage.files.wrapped import WrappedFiles


class ChosenPaths(WrappedFiles):
    """A listing with some of its paths alone.

    No seal is of these alone.

    Args:
        whole: The listing.
        paths: Those that are kept.
    """

    def __init__(self, whole: Files, paths: Collection[str]) -> None:
        super().__init__(whole)
        self._entries = {path: entry for path, entry in whole.entries.items() if path in paths}

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    def beside(self, name: str) -> bytes | None:
        return None

    def head(self, path: str) -> bytes:
        return self.inner.head(self._listed(path))

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        self.inner.read_into(self._listed(path), offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            self._listed(wanted.path)
        return self.inner.read_many(ranges)

    def below(self, root: str) -> Files:
        if not root:
            return self
        if root in self._entries:
            return self.inner.below(root)
        folder = f"{root.rstrip('/')}/"
        kept = {path.removeprefix(folder) for path in self._entries if path.startswith(folder)}
        return ChosenPaths(self.inner.below(root), kept)

    def size(self, path: str) -> int:
        return self.inner.size(self._listed(path))

    def local_path(self, path: str) -> str | None:
        return self.inner.local_path(self._listed(path))

    def opened(self, path: str, descriptor: int) -> None:
        self.inner.opened(self._listed(path), descriptor)

    def version(self, path: str) -> str:
        return self.inner.version(self._listed(path))

    def _listed(self, path: str) -> str:
        if path not in self._entries:
            raise not_listed(path, self.skipped)
        return path


class ChosenFiles(ChosenPaths):
    """Some files of one folder: a checkpoint that shares it with others.

    Args:
        folder: The listing of the folder.
        names: The files, directly in it; the first names the checkpoint.
    """

    def __init__(self, folder: Files, names: Sequence[str]) -> None:
        super().__init__(folder, set(names))
        self.location = replace(folder.location, member=names[0])

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    @property
    def empty(self) -> Collection[str]:
        return ()

    @property
    def debris(self) -> Mapping[str, str]:
        return {}

    def below(self, root: str) -> Files:
        return self.inner.below(self._listed(root)) if root else self
