"""Files that a checkpoint in memory carries along."""

from collections.abc import Iterator, Mapping, Sequence

from ckpt_core.schema.access import FileEntry, Files
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.base import ListedFiles
from ckpt_core.storage.files.range_checks import check_range


class FilesInMemory(ListedFiles):
    """A listing of bytes by their paths."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        entries = {path: FileEntry(path, len(data)) for path, data in sorted(contents.items())}
        super().__init__(Location("memory", LocationKind.DIRECTORY), entries)
        self._contents = contents

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        out[:] = self._contents[path][offset : offset + len(out)]

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            yield self.read(wanted.path, wanted.offset, wanted.length)

    def below(self, root: str) -> Files:
        start = f"{root.rstrip('/')}/" if root else ""
        inside = {path: data for path, data in self._contents.items() if path.startswith(start)}
        return FilesInMemory({path.removeprefix(start): data for path, data in inside.items()})
