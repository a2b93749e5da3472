"""The manifest: all that is known without reading tensor bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckpt_core.schema.kinds import KINDS
from ckpt_core.schema.tensors import TensorTable

if TYPE_CHECKING:
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.roles import Role
    from ckpt_core.schema.state import State


@dataclass(frozen=True, slots=True)
class Component:
    """A separable part of a checkpoint.

    It has a kind, a name where there are several of the kind, tensors and plain state.
    """

    kind: str
    tensors: TensorTable
    state: "State" = None
    name: str = ""

    @property
    def label(self) -> str:
        """`model`, or `model:critic` where the component has a name."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Asset:
    """A file carried along unchanged.

    `path` is relative to the root, `size` in bytes.
    """

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The components of a checkpoint, the files beside them, and metadata.

    Attributes:
        components: In a fixed order: as in `KINDS`, then by name.
        assets: Files carried along.
        metadata: Text the format keeps beside the tensors (a safetensors header's `__metadata__`, an index's).
        provenance: Where the content came from, where that is recorded.
        findings: What the reader noticed on the way.
        roles: What the format knows of components that are absent, unreadable, or kept somewhere special.
        step: The training step that its own content records; None where nothing does.
        optional: Globs of tensors that the model can do without, since its own code makes them (frozen tables): a
            checkpoint of the same model may have them or not.
        tainted: The cause by `component/name` of each tensor that is not what was saved; see `taint`.
    """

    components: tuple[Component, ...]
    assets: tuple[Asset, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    findings: "tuple[Finding, ...]" = ()
    roles: "tuple[Role, ...]" = ()
    step: int | None = None
    optional: tuple[str, ...] = ()
    tainted: Mapping[str, str] = field(default_factory=dict)

    def component(self, label: str) -> Component:
        """Return the component with a label; KeyError where there is none."""
        for component in self.components:
            if component.label == label:
                return component
        raise KeyError(label)


def in_order(components: list[Component]) -> tuple[Component, ...]:
    """Return components sorted as a manifest lists them."""
    return tuple(sorted(components, key=lambda c: (KINDS.index(c.kind) if c.kind in KINDS else len(KINDS), c.name)))
