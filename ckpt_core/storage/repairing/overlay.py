"""A listing as it would be once repairs were done.

It is read from the files there are, and from content made in memory.

So a plan is verified by the same readers as a checkpoint on a disk, before a byte of that is changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckpt_core.schema.access import HEAD_BYTES, FileEntry, Files, TensorsIn
from ckpt_core.schema.byte_consumers import Sum
from ckpt_core.schema.repairs import Operation, RepairAction
from ckpt_core.schema.side_files.reserved_names import is_ours
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.range_checks import check_range, not_listed
from ckpt_core.storage.files.wrapped import WrappedFiles

Content = bytes | str
"""What a file holds: bytes made in memory, or what the file of this path in the original listing has."""


class OverlaidFiles(WrappedFiles):
    """A listing with repairs done.

    No checksum of the one before it speaks of what was put in its place.

    Attributes:
        inner: The listing as it is.
        contents: What each listed file holds, by path.
        own: Seals that were written, by name.
    """

    def __init__(self, inner: Files, contents: Mapping[str, Content], own: Mapping[str, bytes]) -> None:
        super().__init__(inner)
        self.contents = dict(sorted(contents.items()))
        self.own = dict(own)
        self._entries = {path: FileEntry(path, self._size(held)) for path, held in self.contents.items()}

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def written(self) -> dict[str, bytes]:
        """Files with new content, by path; seals too, and last."""
        made = {path: held for path, held in self.contents.items() if isinstance(held, bytes)}
        return {**made, **self.own}

    @property
    def moved(self) -> dict[str, str]:
        """Files that have another name: by the new one, the old."""
        return {path: held for path, held in self.contents.items() if isinstance(held, str) and held != path}

    @property
    def removed(self) -> list[str]:
        """Files that are gone, and whose content is nowhere else."""
        kept = {held for held in self.contents.values() if isinstance(held, str)}
        return [path for path in self.inner.entries if path not in kept and path not in self.contents]

    def head(self, path: str) -> bytes:
        held = self._held(path)
        return held[:HEAD_BYTES] if isinstance(held, bytes) else self.inner.head(held)

    def size(self, path: str) -> int:
        return self._size(self._held(path))

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        held = self._held(path)
        if isinstance(held, str):
            self.inner.read_into(held, offset, out)
            return
        check_range(path, offset, len(out), len(held))
        out[:] = held[offset : offset + len(out)]

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            yield self.read(wanted.path, wanted.offset, wanted.length)

    def beside(self, name: str) -> bytes | None:
        return self.own[name] if name in self.own else self.inner.beside(name)

    def below(self, root: str) -> Files:
        if not root:
            return self
        one = root in self.contents
        inside = [root] if one else [path for path in self.contents if path.startswith(root.rstrip("/") + "/")]
        start = root.rfind("/") + 1 if one else len(root.rstrip("/")) + 1
        below = self.inner.below(root)
        contents = {path[start:]: self._seen_from(below, path, start) for path in inside}
        return OverlaidFiles(below, contents, {})

    def local_path(self, path: str) -> str | None:
        held = self._held(path)
        return None if isinstance(held, bytes) else self.inner.local_path(held)

    def opened(self, path: str, descriptor: int) -> None:
        held = self._held(path)
        if isinstance(held, str):
            self.inner.opened(held, descriptor)

    def version(self, path: str) -> str:
        held = self._held(path)
        return "" if isinstance(held, bytes) else self.inner.version(held)

    def expect(self, sums: Iterable[Sum], tensors_in: TensorsIn | None = None) -> None:
        return

    def prove(self, ranges: Iterable[ByteRange]) -> None:
        return

    def _seen_from(self, below: Files, path: str, start: int) -> Content:
        """Return a file's content as the inner listing names it.

        It is read whole where its source is not in that.
        """
        held = self.contents[path]
        if isinstance(held, bytes):
            return held
        inner = held[start:]
        return inner if held[:start] == path[:start] and inner in below.entries else self.inner.read(held)

    def _held(self, path: str) -> Content:
        if path not in self.contents:
            raise not_listed(path, self.skipped)
        return self.contents[path]

    def _size(self, held: Content) -> int:
        return len(held) if isinstance(held, bytes) else self.inner.size(held)


def overlaid(files: Files, actions: Sequence[RepairAction]) -> OverlaidFiles:
    """A listing with actions done on it, in their order."""
    found = (
        files if isinstance(files, OverlaidFiles) else OverlaidFiles(files, {path: path for path in files.entries}, {})
    )
    contents, own = dict(found.contents), dict(found.own)
    for action in actions:
        if is_ours(action.path, contents):
            own[action.path] = action.data
        elif action.operation is Operation.WRITE:
            contents[action.path] = action.data
        elif action.operation is Operation.REMOVE:
            contents.pop(action.path, None)
        else:
            contents[action.path] = contents.pop(action.source)
    return OverlaidFiles(found.inner, contents, own)
