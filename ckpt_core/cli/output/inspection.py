"""Gathers what `ckpt inspect` shows of a checkpoint.

It is all there before anything is printed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpt_core.verbs.inspect import Inspection, Totals, select_names

if TYPE_CHECKING:
    from ckpt_core.layouts.training_record import TrainingRecord
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.reading.digests import Fingerprint
    from ckpt_core.reading.statistics import Statistics
    from ckpt_core.schema.access import Progress
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.formats import FormatMatch
    from ckpt_core.schema.manifests import Component

Name = tuple[str, str]
"""Label of a component, and name of a tensor in it."""


class Wanted(NamedTuple):
    """The request: component and names, a list or not, what is read."""

    component: str | None
    filters: tuple[str, ...]
    listed: bool
    stats: bool
    fingerprint: bool


class Contents(NamedTuple):
    """The contents that are shown.

    Attributes:
        inspection: What the verb found.
        totals: Of the components that are shown, by label.
        members: The checkpoints inside a container, or beside the one at the root.
        names: The tensors to list; None where none were asked for.
        statistics: Of the listed tensors; None for those whose type has none.
        fingerprints: Of the components that are shown, by label.
        record: What it records of its training; None for a container.
    """

    inspection: Inspection
    totals: Mapping[str, Totals]
    members: Sequence["FormatMatch"]
    findings: Sequence["Finding"]
    names: Sequence[Name] | None
    statistics: Mapping[Name, "Statistics | None"]
    fingerprints: Mapping[str, "Fingerprint"]
    record: "TrainingRecord | None" = None


def gather(inspection: Inspection, wanted: Wanted, progress: "Progress | None") -> Contents:
    """Read what was asked for.

    Raises:
        UsageError: There is no such component, or nothing to list because there are several checkpoints.
        CkptError: A tensor cannot be read.
    """
    checkpoint = inspection.checkpoint
    if checkpoint is None:
        if wanted != Wanted(None, (), False, False, False):
            inspection.place.open()  # says which checkpoint can be chosen
        return Contents(inspection, {}, inspection.members, (), None, {}, {})
    shown = _shown(checkpoint, wanted)
    names = [(c.label, name) for c in shown for name in select_names(c, wanted.filters)] if wanted.listed else None
    _announce(checkpoint, shown, names or (), wanted, progress)
    statistics = _statistics(checkpoint, names or ()) if wanted.stats else {}
    fingerprints = _fingerprints(checkpoint, shown) if wanted.fingerprint else {}
    from ckpt_core.layouts.training_record import training_record

    record = training_record(checkpoint)
    checkpoint.finish()
    return Contents(
        inspection,
        {component.label: inspection.totals[component.label] for component in shown},
        [member for member in inspection.members if member.root not in inspection.place.files.entries],
        checkpoint.manifest.findings,
        names,
        statistics,
        fingerprints,
        record,
    )


def _shown(checkpoint: "StoredCheckpoint", wanted: Wanted) -> "Sequence[Component]":
    if wanted.component is not None:
        return [checkpoint.component(wanted.component)]
    return checkpoint.manifest.components


def _announce(
    checkpoint: "StoredCheckpoint",
    shown: "Sequence[Component]",
    names: Sequence[Name],
    wanted: Wanted,
    progress: "Progress | None",
) -> None:
    """Tell the progress how much will be read."""
    total = 0
    if wanted.stats:
        tables = {component.label: component.tensors for component in shown}
        total += sum(tables[label].info(name).nbytes for label, name in names)
    if wanted.fingerprint:
        total += sum(o.nbytes for c in shown for _, o in c.tensors.infos() if o.alias_of is None)
    if progress is not None and total:
        progress.begin(total)
        checkpoint.progress = progress


def _statistics(checkpoint: "StoredCheckpoint", names: Sequence[Name]) -> dict[Name, "Statistics | None"]:
    from ckpt_core.reading.statistics import statistics

    return {(label, name): statistics(checkpoint, label, name) for label, name in names}


def _fingerprints(checkpoint: "StoredCheckpoint", shown: "Sequence[Component]") -> dict[str, "Fingerprint"]:
    from ckpt_core.reading.digests import fingerprint

    return {component.label: fingerprint(checkpoint, component.label) for component in shown}
