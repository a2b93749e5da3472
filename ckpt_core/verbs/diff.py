"""Diff: compare two checkpoints by names, types, values and state.

Weights that are the same in different formats are identical; a name that a format dropped because it is tied to
another is said, never passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.comparison import Difference, Side, compare
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import differing_paths
from ckpt_core.schema.summaries import html_table
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.verbs.checked_arguments import SWITCH, checked
from ckpt_core.verbs.load import Checks, open_checkpoint
from ckpt_core.verbs.reference import Reference, query_of

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor of both checkpoints, and how it differs.

    `values` is None where the shapes differ.
    """

    component: str
    name: str
    dtypes: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    values: Difference | None


@dataclass(slots=True)
class DiffReport:
    """The differences of two checkpoints.

    Attributes:
        compared: Tensors that both have.
        only_first: `component/name` of tensors only the first has; `only_second` likewise.
        tied: Names that one of them lacks, each with the identical tensor that stands for it.
        changed: Tensors that both have and that differ.
        state: Paths of plain state that differ.
        components: Labels of components that only one of them has, by side.
    """

    compared: int = 0
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    tied: dict[str, str] = field(default_factory=dict)
    changed: list[TensorDifference] = field(default_factory=list)
    state: list[str] = field(default_factory=list)
    components: dict[str, list[str]] = field(default_factory=lambda: {"first": [], "second": []})

    def __repr__(self) -> str:
        return f"<DiffReport: {self.summary}>"

    def _repr_html_(self) -> str:
        rows = [(f"{one.component}/{one.name}", *_spelled(one)) for one in self.changed]
        rows += [(name, "only in the first", "", "") for name in self.only_first]
        rows += [(name, "only in the second", "", "") for name in self.only_second]
        rows += [
            (f"component {name}", f"only in the {side}", "", "")
            for side in self.components
            for name in self.components[side]
        ]
        rows += [(path, "state differs", "", "") for path in self.state]
        return html_table(self.summary, ("name", "types", "shapes", "greatest difference"), rows)

    @property
    def summary(self) -> str:
        """Return the comparison in one line, with its counts.

        An example is `identical, 12 tensors compared`.
        """
        counts = [
            (len(self.changed), "changed"),
            (len(self.only_first), "only in the first"),
            (len(self.only_second), "only in the second"),
            (len(self.state), "differing in plain state"),
            (sum(map(len, self.components.values())), "components that one lacks"),
        ]
        what = ", ".join(f"{count} {word}" for count, word in counts if count)
        compared = f"{self.compared:,} {'tensor' if self.compared == 1 else 'tensors'} compared"
        return f"{what}; {compared}" if what else f"identical, {compared}"

    @property
    def identical(self) -> bool:
        differs = self.only_first or self.only_second or self.changed or self.state
        return not differs and not any(self.components.values())


def _spelled(one: TensorDifference) -> tuple[str, str, str]:
    types = one.dtypes[0] if one.dtypes[0] == one.dtypes[1] else " -> ".join(one.dtypes)
    shapes = " -> ".join(str(list(shape)) for shape in dict.fromkeys(one.shapes))
    return types, shapes, "" if one.values is None else f"{one.values.max_abs:.3g}"


@checked(state=SWITCH)
def diff(
    first: Reference,
    second: Reference,
    *,
    component: str | None = None,
    state: bool = True,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    accept_damage: bool = False,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> DiffReport:
    """Compare two checkpoints, reading each tensor once, in slabs.

    Args:
        first: A ref; see `load`.
        second: Another.
        component: Compare this component only; None for all that either has.
        state: Compare plain state too.
        hints: What narrows the search for both; see `load`.
        format: Take both for this format.
        options: Options of the formats.
        accept_damage: Compare what is there, whether or not it matches its checksums.
        progress: Told how many bytes there are to compare, and how far it is.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Raises:
        CorruptError: What was read of one does not match its checksums, so that nothing can be said.
        CkptError: One of them cannot be opened or read.
        UsageError: They have nothing that could be compared.
        ReplacedError: One of them was replaced, changed or removed meanwhile.
    """
    checks = Checks(accept=accept_damage)
    for name, ref in (("first", first), ("second", second)):
        query_of(ref, name=name)
    one, other = (
        open_checkpoint(ref, hints=hints, format=format, options=options, manager=manager, checks=checks)
        for ref in (first, second)
    )
    with one_moment(one, other):
        return _diff(one, other, component, state, progress)


def _diff(
    one: StoredCheckpoint, other: StoredCheckpoint, component: str | None, state: bool, progress: "Progress | None"
) -> DiffReport:
    report = DiffReport()
    labels = _labels(one, other, component, report)
    if progress is not None:
        progress.begin(sum(_nbytes(side.component(label)) for side in (one, other) for label in labels))
        one.progress = other.progress = progress
    for label in labels:
        a, b = one.component(label), other.component(label)
        _diff_tensors(report, one, a, other, b)
        if state:
            report.state += [f"{label}{path}" for path in differing_paths(a.state, b.state)]
    for side in (one, other):
        side.confirm()  # where no tensor was read, what is said still rests on what opening had read
        side.finish()
    return report


def _labels(one: StoredCheckpoint, other: StoredCheckpoint, asked: str | None, report: DiffReport) -> list[str]:
    if asked is not None:
        one.component(asked), other.component(asked)
        return [asked]
    mine = [component.label for component in one.manifest.components]
    theirs = [component.label for component in other.manifest.components]
    report.components["first"] = [label for label in mine if label not in theirs]
    report.components["second"] = [label for label in theirs if label not in mine]
    shared = [label for label in mine if label in theirs]
    if not shared:
        raise UsageError(
            f"{one.location} and {other.location} have no component in common "
            f"({', '.join(mine) or 'none'}; {', '.join(theirs) or 'none'}); nothing was compared"
        )
    return shared


def _nbytes(component: Component) -> int:
    return sum(info.nbytes for _, info in component.tensors.infos())


def _diff_tensors(
    report: DiffReport, one: StoredCheckpoint, first: Component, other: StoredCheckpoint, second: Component
) -> None:
    lost = [name for name in first.tensors if name not in second.tensors]
    added = [name for name in second.tensors if name not in first.tensors]
    identical: set[str] = set()
    for name in first.tensors:
        if name in second.tensors:
            report.compared += 1
            difference = _diff_tensor(one, first, other, second, name)
            if difference is None:
                identical.add(name)
            else:
                report.changed.append(difference)
    for names, checkpoint, component, where in (
        (lost, one, first, report.only_first),
        (added, other, second, report.only_second),
    ):
        for name in names:
            twin = _twin(checkpoint, component, name, identical)
            if twin is None:
                where.append(f"{component.label}/{name}")
            else:
                report.tied[f"{component.label}/{name}"] = twin


def _diff_tensor(
    one: StoredCheckpoint, first: Component, other: StoredCheckpoint, second: Component, name: str
) -> TensorDifference | None:
    a, b = first.tensors[name], second.tensors[name]
    codes, shapes = (a.dtype.code, b.dtype.code), (a.shape, b.shape)
    if a.shape != b.shape:
        return TensorDifference(first.label, name, codes, shapes, None)
    sides = Side(one, first.label, name, a), Side(other, second.label, name, b)
    values = compare(*sides)
    return None if values is None else TensorDifference(first.label, name, codes, shapes, values)


def _twin(checkpoint: StoredCheckpoint, component: Component, name: str, identical: set[str]) -> str | None:
    """Return a common tensor that equals this one in every byte.

    It is of the same component, and both checkpoints have it.
    """
    entry = component.tensors[name]
    if entry.alias_of in identical:
        return entry.alias_of
    for other, info in component.tensors.infos():
        if other not in identical or info.shape != entry.shape or info.dtype is not entry.dtype:
            continue
        if info.alias_of == name:
            return other
        mine = Side(checkpoint, component.label, name, entry)
        if compare(mine, Side(checkpoint, component.label, other, component.tensors[other])) is None:
            return other
    return None
