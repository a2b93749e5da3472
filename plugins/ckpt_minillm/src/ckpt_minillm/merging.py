"""Shows a LoRA merged into the weights it was trained on.

The view computes `W + B·A` slab by slab when it is read.

The rule is minimind's (`model/model_lora.py`): the output of a module is `W x + B (A x)`, without a factor, so that the
merged weight is `W + B·A`. A LoRA's tensors are named `{module}.lora.A.weight`, of shape (rank, in), and
`{module}.lora.B.weight`, of shape (out, rank).

Types: both factors and the weight are computed with in F32, in F64 where the weight is F64; the sum is rounded once to
the weight's own type. The products are added rank by rank, so that no element depends on how it was cut into slabs.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ckpt_core import (
    Chunk,
    CkptError,
    Encoding,
    Finding,
    LoadError,
    Manifest,
    Severity,
    StoredCheckpoint,
    TensorEntry,
    TensorInfo,
    TensorTable,
    UsageError,
    marked,
    option,
    printable,
)
from ckpt_core.layouts import COMPUTABLE, narrow_bytes, wide_numbers

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger(__name__)

_FACTOR = re.compile(r"(?P<module>.+)\.lora\.(?P<factor>[AB])\.weight")
_SLAB = 1 << 18
"""Elements that are computed at once: as numbers they take a MiB."""

_KEPT = 8
"""Modules whose factors are kept at a time: as many as may be read side by side."""

_COMPUTED = Encoding("lora")

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes, in elements."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two factors of one module, and their rank.

    Each is given by its component and name in the LoRA's checkpoint.
    """

    a: tuple[str, str]
    b: tuple[str, str]
    rank: int


class MergedCheckpoint(StoredCheckpoint):
    """A model with a LoRA merged into it.

    Args:
        base: The checkpoint of the model.
        lora: The checkpoint of the LoRA; the same object where one file holds both.
        label: The component of `base` that is merged into.
        pairs: The factors of each weight that is merged, by the weight's name.
    """

    def __init__(self, base: StoredCheckpoint, lora: StoredCheckpoint, label: str, pairs: Mapping[str, Pair]) -> None:
        super().__init__(base.files, base.match, _merged_manifest(base, lora, label, pairs))
        self.checksums = base.checksums
        self._base, self._lora, self._label, self._pairs = base, lora, label, pairs
        self._factors = lru_cache(_KEPT)(self._read_factors)

    def confirm(self) -> None:
        self._base.confirm()
        self._lora.confirm()

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        pair = self._pairs.get(name) if component == self._label else None
        if pair is None:
            result = self._base.read(component, name, box=box, out=out)
        else:
            result = self._read_merged(name, pair, box, out)
        if self.progress is not None:
            self.progress.advance(result.nbytes)
        return result

    def prove(self, component: str, name: str) -> None:
        self._base.prove(component, name)
        pair = self._pairs.get(name) if component == self._label else None
        for key in (pair.a, pair.b) if pair is not None else ():
            self._lora.prove(*key)

    def finish(self) -> None:
        self._base.finish()
        self._lora.finish()

    def checked_by(self) -> dict[str, str]:
        if self._lora is self._base:
            return self._base.checked_by()
        return {**self._base.checked_by(), "lora_checked": self._lora.checked_by()["source_checked"]}

    def identity(self) -> str:
        return f"{self._base.identity()}\n{self._lora.location}\n{self._lora.identity()}"

    def _read_merged(self, name: str, pair: Pair, box: Box | None, out: memoryview | None) -> memoryview:
        entry = self.component(self._label).tensors[name]
        (row, column), (rows, columns) = box or ((0, 0), entry.shape)
        result = out if out is not None else memoryview(bytearray(entry.dtype.nbytes(rows * columns)))
        step = max(_SLAB // max(columns, 1), 1)
        for start in range(0, rows, step):
            part = ((row + start, column), (min(step, rows - start), columns))
            self._merge(name, pair, part, result.cast("B")[entry.dtype.nbytes(start * columns) :])
        return result

    def _merge(self, name: str, pair: Pair, box: Box, out: memoryview) -> None:
        """Fill the start of `out` with some merged rows."""
        import numpy as np

        (row, column), (rows, columns) = box
        dtype = self._base.component(self._label).tensors.info(name).dtype
        weight = wide_numbers(self._base.read(self._label, name, box=box), dtype).reshape(rows, columns)
        a, b = self._factors(pair)
        change = np.zeros_like(weight)
        for rank in range(pair.rank):
            change += b[row : row + rows, rank, None] * a[None, rank, column : column + columns]
        try:
            data = narrow_bytes(weight + change, dtype)
        except CkptError as error:
            raise type(error)(f"{printable(name)}: {marked(error.message)}", code=error.code, tensor=name) from None
        out[: len(data)] = data

    def _read_factors(self, pair: Pair) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        a, b = (_numbers(self._lora, *key) for key in (pair.a, pair.b))
        return a, b


def merge_lora(base: StoredCheckpoint, lora: StoredCheckpoint) -> MergedCheckpoint:
    """Return a view of a model with a LoRA merged.

    Args:
        base: A model's weights.
        lora: A file of LoRA tensors alone, or `base` itself where the file holds both.

    Raises:
        UsageError: `lora` holds no LoRA, or a whole model too that is not `base`; `base` has LoRA tensors of its own.
        LoadError: The factors do not fit together, or not to the model; the model lacks a module.
    """
    pairs = _pairs(lora)
    if not pairs:
        raise UsageError(f"{lora.location}: holds no tensor named MODULE.lora.A.weight; give a LoRA's own file")
    own = base.location.url == lora.location.url
    if own:
        lora = base
    else:
        _refuse_more_than_lora(lora)
        if _pairs(base):
            raise UsageError(
                f"{base.location}: has LoRA tensors of its own; merge those first, "
                f"by giving this file as {option('lora')} too"
            )
    tensors = base.component("model").tensors
    merged = {f"{module}.weight": _fitting(tensors, module, pair, lora) for module, pair in pairs.items()}
    return MergedCheckpoint(base, lora, "model", merged)


def _pairs(checkpoint: StoredCheckpoint) -> dict[str, Pair]:
    by_module: dict[str, dict[str, tuple[str, str]]] = {}
    for component in checkpoint.manifest.components:
        for name in component.tensors if component.kind in ("model", "adapter") else ():
            match = _FACTOR.fullmatch(name)
            if match is not None:
                by_module.setdefault(match["module"], {})[match["factor"]] = (component.label, name)
    return {module: _pair(checkpoint, module, factors) for module, factors in by_module.items()}


def _pair(checkpoint: StoredCheckpoint, module: str, factors: Mapping[str, tuple[str, str]]) -> Pair:
    where = f"{checkpoint.location}: {printable(module)}"
    if set(factors) != {"A", "B"}:
        raise LoadError(f"{where}: has only lora.{min(factors)} of two factors; save the LoRA again", tensor=module)
    shapes = [_info(checkpoint, factors[letter]).shape for letter in "AB"]
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][1]:
        raise LoadError(f"{where}: factors of shapes {shapes[0]} and {shapes[1]} cannot be multiplied", tensor=module)
    return Pair(factors["A"], factors["B"], shapes[0][0])


def _info(checkpoint: StoredCheckpoint, key: tuple[str, str]) -> TensorInfo:
    return checkpoint.component(key[0]).tensors.info(key[1])


def _fitting(tensors: TensorTable, module: str, pair: Pair, lora: StoredCheckpoint) -> Pair:
    """Return the pair, if it fits a module of the model.

    The weight must be untied, and of the shape of the product.
    """
    name = f"{module}.weight"
    if name not in tensors:
        raise LoadError(
            f"{printable(name)}: the LoRA has factors for it, and the model lacks it; is it another model's?"
        )
    info, a, b = tensors.info(name), _info(lora, pair.a), _info(lora, pair.b)
    if info.shape != (b.shape[0], a.shape[1]):
        product = (b.shape[0], a.shape[1])
        raise LoadError(
            f"{printable(name)}: has shape {info.shape}, the LoRA's product {product}; is it another model's?",
            tensor=name,
        )
    if not {info.dtype, a.dtype, b.dtype} <= COMPUTABLE:
        raise LoadError(f"{printable(name)}: its type or its factors' is not one that is computed with", tensor=name)
    if info.alias_of is not None or any(other.alias_of == name for _, other in tensors.infos()):
        raise LoadError(f"{printable(name)}: is tied to another tensor, which merging would change too", tensor=name)
    return pair


def _refuse_more_than_lora(lora: StoredCheckpoint) -> None:
    for component in lora.manifest.components:
        others = [name for name in component.tensors if component.kind == "model" and not _FACTOR.fullmatch(name)]
        if others:
            raise UsageError(
                f"{lora.location}: holds {len(others)} tensors beside the LoRA ({printable(others[0])}); a model that "
                f"was saved with its LoRA is given as the checkpoint and as {option('lora')} both"
            )


def _merged_table(tensors: TensorTable, pairs: Mapping[str, Pair]) -> TensorTable:
    """Return the model's tensors without factors.

    The merged ones say that they lie in no file.
    """
    kept = tensors.renamed({name: name for name in tensors if not _FACTOR.fullmatch(name)})

    def entry(name: str) -> TensorEntry:
        own = kept[name]
        if name not in pairs:
            return own
        return replace(own, chunks=(Chunk((0, 0), own.shape, None, encoding=_COMPUTED),))

    def info(name: str) -> TensorInfo:
        own = kept.info(name)
        return own._replace(path=None, offset=0) if name in pairs else own

    return TensorTable({name: name for name in kept}, entry=entry, info=info)


def _merged_manifest(base: StoredCheckpoint, lora: StoredCheckpoint, label: str, pairs: Mapping[str, Pair]) -> Manifest:
    components = tuple(
        replace(component, tensors=_merged_table(component.tensors, pairs)) if component.label == label else component
        for component in base.manifest.components
        if component.kind != "adapter"
    )
    manifest = base.manifest
    metadata = {**manifest.metadata, "lora": printable(str(lora.location)), "lora_modules": str(len(pairs))}
    findings = (*manifest.findings, _said(lora, pairs))
    tainted = {**_tainted(lora, label, pairs), **manifest.tainted}
    return replace(manifest, components=components, metadata=metadata, findings=findings, tainted=tainted)


def _tainted(lora: StoredCheckpoint, label: str, pairs: Mapping[str, Pair]) -> dict[str, str]:
    """Return the merged weights that their factors taint."""
    causes = {name: lora.cause(*pair.a) or lora.cause(*pair.b) for name, pair in pairs.items()}
    return {f"{label}/{name}": cause for name, cause in causes.items() if cause is not None}


def _said(lora: StoredCheckpoint, pairs: Mapping[str, Pair]) -> Finding:
    """Return a finding with how many modules the LoRA changes.

    The finding may say that it changes none; it is logged as well.
    """
    changed = sum(_changes(lora, pair) for pair in pairs.values())
    place = printable(str(lora.location))
    if changed:
        message = f"{place}: merged into {len(pairs)} modules, {changed} of which it changes"
        _log.info("%s", message)
        return Finding("MM021", Severity.INFO, message)
    message = f"{place}: every product of its factors is zero, as before training; merging it changes nothing"
    _log.warning("%s", message)
    return Finding("MM020", Severity.WARNING, message, hint="is it the file that was trained?")


def _changes(lora: StoredCheckpoint, pair: Pair) -> bool:
    return all(_numbers(lora, *key).any() for key in (pair.a, pair.b))


def _numbers(checkpoint: StoredCheckpoint, label: str, name: str) -> "np.ndarray[Any, Any]":
    info = _info(checkpoint, (label, name))
    return wide_numbers(checkpoint.read(label, name), info.dtype).reshape(info.shape)
