"""Some files of one folder as a listing of their own: a checkpoint that shares its folder with others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ckpt_core.schema.access import FileEntry, Files, TensorsIn
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.watches import Sum
from ckpt_core.storage.ranges import not_listed


class ChosenFiles(Files):
    """The listing of a folder without all but some of its files. No seal is of these alone.

    Args:
        folder: The listing of the folder.
        names: The files, directly in it; the first names the checkpoint.
    """

    def __init__(self, folder: Files, names: Sequence[str]) -> None:
        self._folder = folder
        self._entries = {name: folder.entries[name] for name in sorted(names) if name in folder.entries}
        self.location = replace(folder.location, member=names[0])

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    def head(self, path: str) -> bytes:
        return self._folder.head(self._listed(path))

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        self._folder.read_into(self._listed(path), offset, out)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            self._listed(wanted.path)
        return self._folder.read_many(ranges)

    def below(self, root: str) -> Files:
        return self._folder.below(self._listed(root)) if root else self

    def expect(self, sums: Iterable[Sum], tensors_in: TensorsIn | None = None) -> None:
        self._folder.expect(sums, tensors_in)

    def prove(self, ranges: Iterable[ByteRange]) -> None:
        self._folder.prove(ranges)

    def finish(self) -> None:
        self._folder.finish()

    def damage(self) -> list[tuple[Finding, ByteRange, bool]]:
        return self._folder.damage()

    @property
    def accepts_damage(self) -> bool:
        return self._folder.accepts_damage

    def checked_by(self) -> str:
        return self._folder.checked_by()

    def local_path(self, path: str) -> str | None:
        return self._folder.local_path(self._listed(path))

    def opened(self, path: str, descriptor: int) -> None:
        self._folder.opened(self._listed(path), descriptor)

    def version(self, path: str) -> str:
        return self._folder.version(self._listed(path))

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        self._folder.check_unchanged(failed=failed, suspects=suspects)

    def _listed(self, path: str) -> str:
        if path not in self._entries:
            raise not_listed(path, self.skipped)
        return path
