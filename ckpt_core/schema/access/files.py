"""A listing of a place, and ranged reads of its files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckpt_core.schema.locations import Location
from ckpt_core.schema.tensors import ByteRange

if TYPE_CHECKING:
    from ckpt_core.schema.byte_consumers import Sum
    from ckpt_core.schema.findings import Finding

HEAD_BYTES = 64 * 1024

TensorsIn = Callable[[str, int, int], Iterable[str]]
"""The names of the tensors that have bytes between two offsets of a file."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file of a listing.

    Attributes:
        path: Relative to the root.
        size: In bytes.
        version: What its store says of this content and no other, such as an ETag; "" where it says nothing.
    """

    path: str
    size: int
    version: str = ""


class Files(ABC):
    """A listing taken once, and ranged reads of the files in it.

    Paths are relative to the root, with `/`. Only regular files are listed. Reading a path that is not listed raises
    CorruptError where a listed file named it: no name leads out of the root.
    """

    location: Location

    @property
    @abstractmethod
    def entries(self) -> Mapping[str, FileEntry]:
        """Every regular file below the root, sorted by path.

        Files whose names start with a dot are listed too; debris is not.
        """

    @property
    @abstractmethod
    def skipped(self) -> Mapping[str, str]:
        """Paths left out of the listing, each with its reason.

        They are links that lead away, pipes, and folders that cannot be read.
        """

    @property
    def empty(self) -> Collection[str]:
        """Folders below the root that hold nothing at all.

        None where the place has no folders of their own, as an object store.
        """
        return ()

    @property
    def debris(self) -> Mapping[str, str]:
        """Leftovers of other programs, each with a description.

        They are files and whole folders that are no part of any checkpoint, see `schema.side_files.debris`. They are
        never judged: not a member, not damage, not carried along.
        """
        return {}

    @property
    def generation(self) -> str:
        """The folder that holds a replaced content's files.

        It lies inside of the place, where the content was replaced in a store; else it is empty.

        Paths are without it.
        """
        return ""

    def left_out(self, path: str) -> str | None:
        """Return why the listing leaves out an existing path.

        It was skipped, or a folder above it was. None where neither is so.
        """
        while path and path not in self.skipped:
            path = path.rpartition("/")[0]
        return self.skipped.get(path)

    def link_end(self, path: str) -> str | None:
        """Return the destination of a skipped link, as the link names it.

        None for anything that is not such a link.
        """
        return None

    @abstractmethod
    def head(self, path: str) -> bytes:
        """Return the first 64 KiB of a file, read once.

        It is all of the file where that is shorter.
        """

    @abstractmethod
    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        """Fill `out` from byte `offset`. CorruptError where the file ends before that."""

    @abstractmethod
    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        """Yield the bytes of each range, in the given order.

        Remote stores are asked for many ranges at once.
        """

    @abstractmethod
    def below(self, root: str) -> "Files":
        """Return the part of this listing below one of its directories."""

    def beside(self, name: str) -> bytes | None:
        """Return a seal or its digests, stored beside the listed files.

        None where there is none. Such a file is ours, belongs to the listing and is not in it. For a directory it lies
        at the root, for a single file in the same folder.
        """
        return None

    def expect(self, sums: "Iterable[Sum]", tensors_in: TensorsIn | None = None) -> None:  # noqa: B027
        """Compare every byte read from now on with these checksums.

        Those of a seal are compared as well. Only a listing that checks does something here: it raises CorruptError
        where what was read before is not what was sealed, and from then on every read that shows damage does.

        Args:
            sums: Checksums of stretches of the listed files; those that are known already are passed over.
            tensors_in: Names the tensors that are damaged.
        """

    def prove(self, ranges: Iterable[ByteRange]) -> None:  # noqa: B027
        """Read the unproved bytes of these ranges and compare them.

        CorruptError where a checksum does not match.
        """

    def finish(self) -> None:  # noqa: B027
        """Read every checksum's stretch that was begun to its end.

        The stretches are compared, and errors raised, as in `prove`.
        """

    def damage(self) -> "list[tuple[Finding, ByteRange, bool]]":
        """Return the mismatches that were accepted, as findings with their bytes.

        The flag says if the checkpoint was opened by means of those bytes.
        """
        return []

    @property
    def accepts_damage(self) -> bool:
        """True if mismatches are noted and the bytes read all the same."""
        return False

    def checked_by(self) -> str:
        """Return what the bytes read were compared with.

        It is `seal`, or `nothing: …` with the reason.
        """
        return "nothing: it was not asked for"

    def size(self, path: str) -> int:
        """Return the size of a file in bytes.

        KeyError where the listing has no such file.
        """
        return self.entries[path].size

    def version(self, path: str) -> str:
        """Return what identifies the listed content of a file.

        It is an ETag or a time; "" where the store gives neither.
        """
        return self.entries[path].version

    def whole_sum(self, path: str) -> str:
        """Return the hash that the place records of a file's bytes.

        It is `md5:`, `sha256:` or `xxh128:` and base64; "" where the place records none.
        """
        return ""

    def cached(self, path: str) -> str | None:
        """Return where on this machine an earlier copy left a file's bytes.

        Nothing is proved of them: whoever takes them compares them with `whole_sum`. None where none are known of.
        """
        return None

    def keep(self, path: str, local: str) -> None:
        """Offer a proved copy of a file to its place's cache.

        A cache on this machine makes a file of its own of it, or does not care.
        """
        return

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a file.

        They go to the end of the file where `length` is None.
        """
        if length is None:
            length = self.size(path) - offset
        out = bytearray(length)
        self.read_into(path, offset, memoryview(out))
        return bytes(out)

    def local_path(self, path: str) -> str | None:
        """Return the file's path on this machine.

        It is checked to be the listed regular file. None where the file has no local path.
        """
        return None

    def is_remote(self, path: str) -> bool:
        """Return True if reads of a file wait for a server.

        More of them are worth their while at once then.
        """
        return self.local_path(path) is None

    def opened(self, path: str, descriptor: int) -> None:
        """Note that a reader opened a local path itself.

        ReplacedError where it is not the file that was listed.
        """
        return

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        """Raise ReplacedError if files changed since they were listed.

        A file that was read and is gone counts as changed.

        Args:
            failed: Something was wrong with it: the names of all files are compared too, and those of `suspects`.
            suspects: Paths that are said to be damaged, or missing.
        """
        return
