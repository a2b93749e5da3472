"""A checkpoint: what is known of it, and its tensors as bytes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.schema.access.files import Files
from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.locations import Location
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.tensors import Box, TensorEntry
from ckpt_core.schema.text import did_you_mean, printable

if TYPE_CHECKING:
    from ckpt_core.schema.plans import TensorKey


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
