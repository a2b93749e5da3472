"""What gives access to bytes: the listing of a place, a checkpoint, and a target to write one to. Abstract here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.locations import Location
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.tensors import Box, ByteRange, TensorEntry
from ckpt_core.schema.text import did_you_mean, printable

if TYPE_CHECKING:
    from ckpt_core.schema.byte_consumers import Sum
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.plans import TensorKey, WritePlan

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
        """Every regular file below the root, dot-files too, sorted by path; without debris."""

    @property
    @abstractmethod
    def skipped(self) -> Mapping[str, str]:
        """What was left out of the listing (links that lead away, pipes, unreadable folders), each with its reason."""

    @property
    def empty(self) -> Collection[str]:
        """Folders below the root that hold nothing at all; none where the place has no folders of their own."""
        return ()

    @property
    def debris(self) -> Mapping[str, str]:
        """What lies there and is no part of any checkpoint, files and whole folders: each with what it is.

        See `schema.debris`. It is never judged: not a member, not damage, not carried along.
        """
        return {}

    def left_out(self, path: str) -> str | None:
        """Why a path is not listed that is there: it was skipped, or a folder above it was; None where neither is."""
        while path and path not in self.skipped:
            path = path.rpartition("/")[0]
        return self.skipped.get(path)

    def link_end(self, path: str) -> str | None:
        """What a link that was left out of the listing leads to, as it says itself; None for anything else."""
        return None

    @abstractmethod
    def head(self, path: str) -> bytes:
        """The first 64 KiB of a file, or all of a shorter one; read once."""

    @abstractmethod
    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        """Fill `out` from byte `offset`. CorruptError where the file ends before that."""

    @abstractmethod
    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        """The bytes of each range, in the order asked; remote stores are asked for many at once."""

    @abstractmethod
    def below(self, root: str) -> "Files":
        """The part of this listing below a directory of it."""

    def beside(self, name: str) -> bytes | None:
        """A small file of ours that belongs to the listing and is not in it: a seal, its digests. None where absent.

        Of a directory it lies at its root, of a single file in the same folder.
        """
        return None

    def expect(self, sums: "Iterable[Sum]", tensors_in: TensorsIn | None = None) -> None:  # noqa: B027
        """Compare these checksums, and those of a seal, with every byte that is read from now on.

        Nothing, but for a listing that checks; there it raises CorruptError where what was read before is not what was
        sealed, and from then on every read that shows damage does.

        Args:
            sums: Checksums of stretches of the listed files; those that are known already are passed over.
            tensors_in: Names what is damaged.
        """

    def prove(self, ranges: Iterable[ByteRange]) -> None:  # noqa: B027
        """Read what is not proved yet of these ranges, and compare it; CorruptError where it does not hold."""

    def finish(self) -> None:  # noqa: B027
        """Prove what reads have begun, to the end of each checksum's stretch; raises as `prove`."""

    def damage(self) -> "list[tuple[Finding, ByteRange, bool]]":
        """What did not hold, where that was accepted; and whether the checkpoint was opened by what lies there."""
        return []

    @property
    def accepts_damage(self) -> bool:
        """Whether what does not hold is noted, and read all the same."""
        return False

    def checked_by(self) -> str:
        """What the bytes that were read were compared with: `seal`, or `nothing: …`."""
        return "nothing: it was not asked for"

    def size(self, path: str) -> int:
        """Size in bytes. KeyError where the listing has no such file."""
        return self.entries[path].size

    def version(self, path: str) -> str:
        """What tells the listed content of a file from others: an ETag, or a time; "" where nothing does."""
        return self.entries[path].version

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file; to its end where `length` is None."""
        if length is None:
            length = self.size(path) - offset
        out = bytearray(length)
        self.read_into(path, offset, memoryview(out))
        return bytes(out)

    def local_path(self, path: str) -> str | None:
        """The file's path on this machine, checked to be the listed regular file; None where it has none."""
        return None

    def opened(self, path: str, descriptor: int) -> None:
        """Note that a reader opened a local path itself. ReplacedError where it is not the file that was listed."""
        return

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        """ReplacedError where what was read is not there any more, or is not what it was when it was listed.

        Args:
            failed: Something was wrong with it: the names of all files are compared too, and those of `suspects`.
            suspects: Paths that are said to be damaged, or missing.
        """
        return


class Checkpoint(ABC):
    """A checkpoint whose manifest is known and whose tensors are read when asked for.

    Attributes:
        location: Where it is.
        match: The format's claim that it was opened by.
        manifest: All that is known without reading a tensor.
    """

    location: Location
    match: FormatMatch
    manifest: Manifest

    def __repr__(self) -> str:
        from ckpt_core.schema.summaries import components_line

        return f"<Checkpoint {self.location}, {self.match.format}: {components_line(self.manifest.components)}>"

    def _repr_html_(self) -> str:
        from ckpt_core.schema.summaries import components_html

        return components_html(f"{self.location}: {self.match.format}", self.manifest.components)

    @abstractmethod
    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        """The elements of a tensor, or of a box of it, as row-major little-endian bytes.

        Args:
            component: Label of the component.
            name: Name of the tensor in it.
            box: Offsets and sizes in elements; None for the whole tensor.
            out: Writable bytes to fill, exactly as long as the result; None for new memory.
        """

    @abstractmethod
    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        """A tensor's elements in row-major order, slab by slab: as they were read, and as they are here.

        The two differ where the checkpoint is a view that casts or rearranges. Each pair is valid until the next is
        asked for.
        """

    def origin(self, component: str, name: str) -> TensorEntry:
        """The tensor that `stream` reads; the one of the manifest, but for a view that changes it."""
        return self.manifest.component(component).tensors[name]

    def origin_key(self, component: str, name: str) -> "TensorKey":
        """The component and the name of that tensor where it is stored; others for a view that renames."""
        return component, name

    def operations(self, component: str, name: str) -> tuple[str, ...]:
        """What is done to that tensor on the way, in order: `cast F32 to BF16`. Nothing, but for a view that does."""
        return ()

    def cause(self, component: str, name: str) -> str | None:
        """Why a tensor is tainted, one of `taint.CAUSES`; None where it is not. `*` asks about the component."""
        from ckpt_core.schema.causes import cause_of, made_up

        found = cause_of(self.manifest.tainted, component, name)
        return found or made_up(self.manifest.roles, component)

    def prove(self, component: str, name: str) -> None:  # noqa: B027
        """Compare a tensor's bytes with every checksum that covers them; CorruptError where one does not hold."""

    def finish(self) -> None:  # noqa: B027
        """Prove what was begun of what was read; called before anything is said or made of it. Raises as `prove`."""

    def checked_by(self) -> "Mapping[str, str]":
        """What that was compared with, by `source_checked` and, where there is a base, `base_checked`."""
        return {}

    def asset_files(self) -> Files:
        """The listing that the manifest's assets are in. LookupError where the checkpoint has no files."""
        raise LookupError("this checkpoint has no files")

    def identity(self) -> str:
        """A text that changes when what is read changes: of files, their sizes and their times or versions."""
        return ""

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        """ReplacedError where the files it is read from are not what they were; see `Files.check_unchanged`."""
        return

    def component(self, label: str | None = None) -> Component:
        """The component of that label; without one, the model, or the only component there is.

        Raises:
            UsageError: There is none of that label, or none that goes without saying.
            CorruptError: There should be one, and its file cannot be read.
        """
        components = self.manifest.components
        labels = [component.label for component in components]
        if label is None:
            label = "model" if "model" in labels else labels[0] if len(labels) == 1 else None
        if label is None or label not in labels:
            for role in self.manifest.roles:
                if role.label == label and role.presence.value == "unreadable":
                    where = f" ({printable(role.where)})" if role.where else ""
                    raise CorruptError(f"{self.location}: {printable(role.label)} is unreadable{where}")
            asked = "no component named" if label is None else f"no component {printable(label)}"
            why = [f" ({found.message})" for found in self.manifest.findings if label and found.component == label]
            has = ", ".join(map(printable, labels)) or "none"
            near = did_you_mean(label, labels) if label else None
            raise UsageError(f"{self.location}: {asked}{''.join(why[:1])}; it has {has}", hint=near)
        return self.manifest.component(label)


class Target(ABC):
    """A staged place to write a checkpoint to, in a format.

    Attributes:
        location: The destination.
        format: Name of the format.
        options: The format's own options, as it declares them.
    """

    location: Location
    format: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last part of the destination: what a format of one file calls its file."""
        return self.location.name

    @abstractmethod
    def write(self, plan: "WritePlan", checkpoint: Checkpoint) -> Manifest:
        """Write a plan to the stage, reading the checkpoint's tensors. What was written is named only at the commit."""


class Progress(Protocol):
    """What a caller passes in to be told. Any thread may call `advance`."""

    def begin(self, total: int) -> None:
        """About so many bytes will be read."""

    def advance(self, nbytes: int) -> None:
        """So many more were read."""
