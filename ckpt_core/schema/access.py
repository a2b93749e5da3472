"""Abstract access to bytes: listings, checkpoints and write targets.

A listing gives the files of a place, a checkpoint its tensors, a target the place to write one to.
"""

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

        All of the file where it is shorter.
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


class Checkpoint(ABC):
    """A checkpoint with a known manifest and tensors read on demand.

    Attributes:
        location: Where it is.
        match: The format's claim that it was opened by.
        manifest: All that is known without reading a tensor.
        in_memory: True if its tensors are this process's own: they were read from nowhere, and none is tainted.
    """

    location: Location
    match: FormatMatch
    manifest: Manifest
    in_memory: bool = False

    def __repr__(self) -> str:
        from ckpt_core.schema.summaries import components_line

        return f"<Checkpoint {self.location}, {self.match.format}: {components_line(self.manifest.components)}>"

    def _repr_html_(self) -> str:
        from ckpt_core.schema.summaries import components_html

        return components_html(f"{self.location}: {self.match.format}", self.manifest.components)

    @abstractmethod
    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        """Return a tensor, or a box of it, as raw bytes.

        The elements are row-major and little-endian.

        Args:
            component: Label of the component.
            name: Name of the tensor in it.
            box: Offsets and sizes in elements; None for the whole tensor.
            out: Writable bytes to fill, exactly as long as the result; None for new memory.
        """

    @abstractmethod
    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield a tensor's elements in row-major order, slab by slab.

        Each pair holds the elements as they were read, and as they are here: the two differ where the checkpoint is a
        view that casts or rearranges. A pair is valid until the next is asked for.
        """

    def addresses(self) -> "Mapping[TensorKey, int] | None":
        """Return where every tensor lies in this process's memory, row-major and little-endian.

        None where one has to be read, or made first.
        """
        return None

    def origin(self, component: str, name: str) -> TensorEntry:
        """Return the tensor that `stream` reads.

        It is the one of the manifest, except for a view that changes it.
        """
        return self.manifest.component(component).tensors[name]

    def origin_key(self, component: str, name: str) -> "TensorKey":
        """Return the component and name that this tensor is stored under.

        They differ from the arguments where a view renames.
        """
        return component, name

    def operations(self, component: str, name: str) -> tuple[str, ...]:
        """Return the operations applied to the tensor on its way, in order.

        An example is `cast F32 to BF16`. Empty, except for a view that changes tensors.
        """
        return ()

    def cause(self, component: str, name: str) -> str | None:
        """Return why a tensor is tainted, as one of `CAUSES`.

        None where it is not tainted. The name `*` asks about the whole component.
        """
        from ckpt_core.schema.causes import cause_of, made_up

        recorded = cause_of(self.manifest.tainted, component, name)
        return recorded or made_up(self.manifest.roles, component)

    def prove(self, component: str, name: str) -> None:  # noqa: B027
        """Compare a tensor's bytes with every checksum that covers them.

        CorruptError where one does not match.
        """

    def finish(self) -> None:  # noqa: B027
        """Complete the comparisons of checksums that reads have begun.

        Called before anything is said or made of what was read. Raises as `prove`.
        """

    def checked_by(self) -> "Mapping[str, str]":
        """Return what the bytes read were compared with.

        The keys are `source_checked` and, where there is a base, `base_checked`.
        """
        return {}

    def asset_files(self) -> Files:
        """Return the listing that holds the manifest's assets.

        LookupError where the checkpoint has no files.
        """
        raise LookupError("this checkpoint has no files")

    def identity(self) -> str:
        """Return a text that changes when the files read change.

        It is made of their sizes and their times or versions.
        """
        return ""

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        """Raise ReplacedError if the files read from have changed.

        See `Files.check_unchanged`.
        """
        return

    def component(self, label: str | None = None) -> Component:
        """Return the component with a label.

        Without a label it is the model, or the only component there is.

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
            why = [
                f" ({finding.message})" for finding in self.manifest.findings if label and finding.component == label
            ]
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
        """The last part of the destination.

        A format that consists of one file gives it this name.
        """
        return self.location.name

    @abstractmethod
    def write(self, plan: "WritePlan", checkpoint: Checkpoint) -> Manifest:
        """Write a plan to the stage, reading the checkpoint's tensors.

        The destination gets its name only at the commit.
        """


class Progress(Protocol):
    """A caller's object that is told about progress.

    Any thread may call `advance`.
    """

    def begin(self, total: int) -> None:
        """Announce about how many bytes will be read."""

    def advance(self, nbytes: int) -> None:
        """Report how many more bytes were read."""
