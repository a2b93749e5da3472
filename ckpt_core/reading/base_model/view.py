"""Shows a checkpoint as the base model it was trained from.

It has the base's names, shapes and files, and its own weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ckpt_core.reading.base_model.fit import Fit
from ckpt_core.reading.base_model.patch_embedding import Rearrangement, read_rearranged, stream_rearranged
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.tensors import Box, TensorEntry, TensorInfo, TensorTable

FROM_BASE = "take from the base"
"""The operation of a tensor that is the base's own."""

_WEIGHTS = ("model", "ema")


@dataclass(frozen=True, slots=True)
class _Row:
    """The source of a tensor.

    It is a checkpoint, the component and name there, and how the tensor is rearranged.
    """

    checkpoint: Checkpoint
    component: str
    name: str
    how: Rearrangement | None = None
    alias_of: str | None = None

    @property
    def info(self) -> TensorInfo:
        own = self.checkpoint.component(self.component).tensors.info(self.name)
        return TensorInfo(own.dtype, self.how.target if self.how else own.shape, None, 0, self.alias_of)

    @property
    def entry(self) -> TensorEntry:
        # No chunks: those of the base's tensors lie in another listing than the checkpoint's.
        info = self.info
        return TensorEntry(info.dtype, info.shape, (), self.alias_of)


class OntoBase(Checkpoint):
    """A view of a checkpoint in its base model's form.

    No other view may have cast the checkpoint before.

    Args:
        source: The checkpoint.
        base: The base model; its plain config and its files are those of the view.
        fits: How components of the two meet; each must fit.
    """

    def __init__(self, source: Checkpoint, base: Checkpoint, fits: Sequence[Fit]) -> None:
        self._source, self._base = source, base
        self._rows = {fit.component: _rows(source, base, fit) for fit in fits}
        self.location, self.match = source.location, source.match
        weights = [self._component(fit) for fit in fits]
        others = [component for component in base.manifest.components if component.kind not in _WEIGHTS]
        self.manifest = Manifest(
            (*weights, *others),
            base.manifest.assets,
            base.manifest.metadata,
            source.manifest.provenance,
            step=source.manifest.step,
        )

    def _component(self, fit: Fit) -> Component:
        rows = self._rows[fit.component]
        table = TensorTable(rows, entry=lambda row: row.entry, info=lambda row: row.info)
        return replace(self._source.component(fit.component), tensors=table)

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        row = self._rows[component][name]
        if row.how is None:
            return row.checkpoint.read(row.component, row.name, box=box, out=out)
        dtype, shape = row.info.dtype, row.how.target
        box = box or ((0,) * len(shape), shape)
        if out is None:
            count = 1
            for size in box[1]:
                count *= size
            out = memoryview(bytearray(dtype.nbytes(count)))
        read_rearranged(row.checkpoint, row.component, row.name, row.how, box, out)
        return out

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        row = self._rows[component][name]
        if row.how is None:
            return row.checkpoint.stream(row.component, row.name)
        return stream_rearranged(row.checkpoint, row.component, row.name, row.how)

    def origin(self, component: str, name: str) -> TensorEntry:
        row = self._rows[component][name]
        return row.checkpoint.origin(row.component, row.name)

    def origin_key(self, component: str, name: str) -> TensorKey:
        row = self._rows[component][name]
        return row.checkpoint.origin_key(row.component, row.name)

    def operations(self, component: str, name: str) -> tuple[str, ...]:
        row = self._rows[component][name]
        first = (FROM_BASE,) if row.checkpoint is self._base else ()
        moved = () if row.how is None else (row.how.operation,)
        return (*first, *row.checkpoint.operations(row.component, row.name), *moved)

    def cause(self, component: str, name: str) -> str | None:
        row = self._rows.get(component, {}).get(name)
        return None if row is None else row.checkpoint.cause(row.component, row.name)

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        for one in (self._source, self._base):
            one.check_unchanged(failed=failed, suspects=suspects)

    def prove(self, component: str, name: str) -> None:
        row = self._rows[component][name]
        row.checkpoint.prove(row.component, row.name)

    def finish(self) -> None:
        self._source.finish()
        self._base.finish()

    def checked_by(self) -> dict[str, str]:
        base = self._base.checked_by().get("source_checked", "")
        return {**self._source.checked_by(), "base_checked": base}

    def asset_files(self) -> Files:
        return self._base.asset_files()

    def identity(self) -> str:
        return f"{self._source.identity()}\nbase {self._base.identity()}"


def _rows(source: Checkpoint, base: Checkpoint, fit: Fit) -> dict[str, _Row]:
    """Return a row for each tensor, in the base's order."""
    taken = set(fit.taken)
    rows: dict[str, _Row] = {}
    for name, info in base.component(fit.base).tensors.infos():
        if name in taken:
            rows[name] = _Row(base, fit.base, name)
        else:
            first = _first(source, fit, name, info)
            place = first or name
            rows[name] = _Row(source, fit.component, fit.matched[place], fit.rearranged.get(place), first)
    return rows


def _first(source: Checkpoint, fit: Fit, name: str, info: TensorInfo) -> str | None:
    """Return the tensor that this one is tied to.

    The base must store it so, and the checkpoint have nothing else for it.
    """
    if name in fit.tied:
        return fit.tied[name]
    first = info.alias_of
    if first is None or first not in fit.matched:
        return None
    table = source.component(fit.component).tensors
    mine, other = fit.matched[name], fit.matched[first]
    shared = table.info(mine).alias_of == other or table.info(other).alias_of == mine
    return first if shared else None
