"""Compares a second copy of a model's weights with the first.

It lies as `.bin` beside safetensors in one directory. transformers reads safetensors, where there are any; older tools,
and some servers, read the other.
"""

from collections.abc import Iterator
from math import prod

from ckpt_core import (
    Checkpoint,
    CkptError,
    Component,
    Files,
    Finding,
    Manifest,
    Severity,
    StoredCheckpoint,
    VerifyRequest,
    printable,
)
from ckpt_core.laws.tensor_infos import some
from ckpt_hf.names import WeightSet, group
from ckpt_hf.weights.shards import read_weights

_SLAB = 1 << 20
"""Bytes of each copy that are compared at once."""


def second_copy(files: Files, checkpoint: Checkpoint, request: VerifyRequest) -> Iterator[Finding]:
    """Yield LW035 for a second copy that differs.

    The bytes are compared, too, where all are read.
    """
    own = next((one for one in checkpoint.manifest.components if one.kind == "model" and not one.name), None)
    if own is None or not len(own.tensors):
        return
    for weights in group(path for path in files.entries if "/" not in path):
        if weights.component == "model" and not weights.variant and not _is_of(own, set(weights.paths)):
            yield from _compare(files, checkpoint, own, weights, whole=request.whole)


def _is_of(own: Component, paths: set[str]) -> bool:
    """Return True if a component lies in these files.

    The first tensor does, where the model was read from them.
    """
    return any(info.path in paths for _, info in own.tensors.infos())


def _compare(
    files: Files, checkpoint: Checkpoint, own: Component, weights: WeightSet, *, whole: bool
) -> Iterator[Finding]:
    second = read_weights(files, weights)
    if second.errors:
        return
    other = Component("model", second.table())
    wrong = list(_unlike(own, other))
    if not wrong and whole:
        copy = StoredCheckpoint(files, checkpoint.match, Manifest((other,)), confirm=second.confirm)
        try:
            wrong = [name for name in own.tensors if name in other.tensors and not _equal(checkpoint, copy, name)]
        except CkptError:
            return  # what cannot be read is said by whoever reads it
    if wrong:
        path = weights.shown
        message = f"{printable(path)}: a second copy of the weights that differs in {len(wrong)} tensors: {some(wrong)}"
        hint = "tools differ in which they read; remove the one that is older"
        yield Finding("LW035", Severity.WARNING, message, path, wrong[0], hint)


def _unlike(own: Component, other: Component) -> Iterator[str]:
    """Yield tensors that differ in presence, shape or type.

    A tied tensor may be stored under one name only.
    """
    mine, theirs = dict(own.tensors.infos()), dict(other.tensors.infos())
    for name, info in mine.items():
        there = theirs.get(name)
        if there is None or (there.shape, there.dtype) != (info.shape, info.dtype):
            yield name
    shapes = {(info.shape, info.dtype) for info in mine.values()}
    for name, info in theirs.items():
        is_weight = name.endswith((".weight", ".bias"))
        if name not in mine and is_weight and info.alias_of is None and (info.shape, info.dtype) not in shapes:
            yield name


def _equal(first: Checkpoint, second: Checkpoint, name: str) -> bool:
    """Return True if every byte of a tensor is equal.

    Compared in slabs of its rows.
    """
    entry = first.manifest.component("model").tensors[name]
    if not entry.shape or not entry.numel:
        return first.read("model", name) == second.read("model", name)
    inner = entry.shape[1:]
    step = max(1, _SLAB // max(entry.dtype.nbytes(prod(inner)), 1))
    for start in range(0, entry.shape[0], step):
        box = ((start, *(0 for _ in inner)), (min(step, entry.shape[0] - start), *inner))
        if first.read("model", name, box=box) != second.read("model", name, box=box):
            return False
    return True
