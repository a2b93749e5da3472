"""Inspect: tell what a checkpoint holds, from its headers.

Statistics and fingerprints are read where they are asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.summaries import components_html, components_line, html_table
from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import Place, find
from ckpt_core.verbs.reference import Reference


@dataclass(slots=True)
class Totals:
    """Sums over tensors: aliases count as tensors, their elements and bytes once."""

    tensors: int = 0
    parameters: int = 0
    nbytes: int = 0
    aliases: int = 0
    by_dtype: dict[str, int] = field(default_factory=dict)

    def add(self, info: TensorInfo) -> None:
        self.tensors += 1
        if info.alias_of is not None:
            self.aliases += 1
            return
        numel = info.numel
        self.parameters += numel
        self.nbytes += info.dtype.nbytes(numel)
        code = info.dtype.code
        self.by_dtype[code] = self.by_dtype.get(code, 0) + numel

    def as_dict(self) -> dict[str, Any]:
        return {
            "tensors": self.tensors,
            "parameters": self.parameters,
            "bytes": self.nbytes,
            "aliases": self.aliases,
            "parameters_by_dtype": dict(sorted(self.by_dtype.items())),
        }


class Inspection(NamedTuple):
    """The contents of a place.

    `checkpoint` is None for a container; then `members` says what to choose from.
    """

    place: Place
    checkpoint: StoredCheckpoint | None
    totals: Mapping[str, Totals]

    def __repr__(self) -> str:
        where = self.place.files.location
        if self.checkpoint is None:
            names = ", ".join(printable(match.root, 60) for match in self.members[:6])
            more = f", {len(self.members) - 6} more" if len(self.members) > 6 else ""
            return f"<Inspection {where}: {len(self.members)} checkpoints ({names}{more})>"
        parameters = sum(one.parameters for one in self.totals.values())
        held = components_line(self.checkpoint.manifest.components)
        return f"<Inspection {where}: {self.checkpoint.match.format}; {parameters:,} elements in {held}>"

    def _repr_html_(self) -> str:
        where = self.place.files.location
        if self.checkpoint is None:
            rows = [(match.root, match.format, "-" if match.step is None else match.step) for match in self.members]
            return html_table(f"{where}: several checkpoints", ("checkpoint", "format", "step"), rows)
        return components_html(f"{where}: {self.checkpoint.match.format}", self.checkpoint.manifest.components)

    @property
    def members(self) -> tuple[FormatMatch, ...]:
        return self.place.detection.members


@checked()
def inspect(
    ref: Reference | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> Inspection:
    """Look into a checkpoint, reading headers only. Arguments as for `load`."""
    place = find(ref, hints=hints, format=format, manager=manager)
    if place.match is None:
        return Inspection(place, None, {})
    with one_moment(place.files):
        checkpoint = ref if isinstance(ref, StoredCheckpoint) and not options else place.open(options)
    return Inspection(place, checkpoint, {c.label: totals_of(c) for c in checkpoint.manifest.components})


def totals_of(component: Component) -> Totals:
    """The totals of a component."""
    totals = Totals()
    for _, info in component.tensors.infos():
        totals.add(info)
    return totals


def select_names(component: Component, patterns: tuple[str, ...]) -> list[str]:
    """Return a component's tensor names that match any glob.

    They are in file order; without a glob it is all of them.
    """
    if not patterns:
        return list(component.tensors)
    from fnmatch import fnmatchcase

    return [name for name in component.tensors if any(fnmatchcase(name, pattern) for pattern in patterns)]


def tensor_row(name: str, info: TensorInfo) -> dict[str, Any]:
    """One line of a listing of tensors."""
    return {
        "name": printable(name, 1000),
        "dtype": info.dtype.code,
        "shape": list(info.shape),
        "bytes": info.nbytes,
        "alias_of": info.alias_of,
    }
