"""Checks a model directory beyond its table of tensors.

A directory that did not open is checked, too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import (
    Checkpoint,
    DType,
    Files,
    Finding,
    Severity,
    VerifyRequest,
    printable,
)
from ckpt_hf.model.config_types import TYPES, plain_outlines, said_type
from ckpt_hf.model.detection import is_model
from ckpt_hf.model.opening import ModelCheckpoint, read_config
from ckpt_hf.names import CONFIG, WeightSet
from ckpt_hf.weights.adapters import adapter_in_place_of_model
from ckpt_hf.weights.by_component import ComponentWeights, read_all
from ckpt_hf.weights.shards import Weights


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield what is wrong with a model.

    Nothing where the checkpoint is of another format. What the reader noticed on the way is in the manifest, which core
    reports; of one that did not open it is said here.
    """
    if isinstance(checkpoint, ModelCheckpoint):
        every = checkpoint.weights
    elif checkpoint is None and is_model(files):
        every = read_all(files, request.options.get("variant"))
        for one in every:
            yield from one.findings
            yield from map(Finding.of_error, one.weights.errors)
        yield from read_config(files)[1]
    else:
        return
    for one in every:
        yield from check_weights(one)
    if isinstance(checkpoint, ModelCheckpoint):
        yield from _check_type(checkpoint)


def check_weights(one: ComponentWeights) -> Iterator[Finding]:
    """Yield disagreements between weight files and their index.

    They may lie in any directory.
    """
    if not one.weights.errors:
        yield from _check_totals(one.weights)
        yield from adapter_in_place_of_model(one.weights.table(), one.selection.weights.shown)
    yield from _check_stale(one.selection.weights, one.weights)


def _check_totals(weights: Weights) -> Iterator[Finding]:
    """Yield HF004 for wrong sums in the index.

    Tied tensors may have been counted once or under each name. An index that names files of another model too may count
    those as well, or not: its sums are left alone.
    """
    if weights.index is None or weights.index.companions:
        return
    path, metadata = weights.index.path, weights.index.metadata
    infos = [info for shard in weights.shards for _, info in shard.tensors.infos()]
    every = sum(info.nbytes for info in infos)
    once = sum(info.nbytes for info in infos if info.alias_of is None)
    if "total_size" in metadata and _whole(metadata, "total_size") not in (every, once):
        yield _wrong_total(path, "total_size", metadata, f"its files hold {every} bytes of tensors")
    if "total_parameters" not in metadata or any(_may_be_packed(info.dtype) for info in infos):
        return
    # Buffers are stored and are no parameters, so the files may hold more elements than this says, never fewer.
    elements = sum(info.numel for info in infos)
    claimed = _whole(metadata, "total_parameters")
    if claimed is None or claimed > elements:
        yield _wrong_total(path, "total_parameters", metadata, f"its files hold {elements} elements")


def _whole(metadata: Mapping[str, Any], key: str) -> int | None:
    value = metadata[key]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _may_be_packed(dtype: DType) -> bool:
    """Return True if an element may hold several parameters.

    Quantized weights are kept in integers.
    """
    return not dtype.is_float or dtype.bits < 16


def _wrong_total(path: str, key: str, metadata: Mapping[str, Any], reality: str) -> Finding:
    message = f"{printable(path)}: {key} is {printable(str(metadata[key]), 40)}, {reality}"
    hint = "the index was written for other files, or changed by hand"
    return Finding("HF004", Severity.WARNING, message, path, hint=hint)


def _check_stale(chosen: WeightSet, weights: Weights) -> Iterator[Finding]:
    """Yield HF009 for files that nothing names.

    They are of the set that was read: left over from another save, or of two saves mixed.
    """
    if weights.index is None and chosen.single is None:
        return
    named = set(weights.index.shards) | {weights.index.path} if weights.index is not None else {chosen.single}
    why = f"{weights.index.path} does not name it" if weights.index is not None else f"{chosen.single} is read instead"
    for path in chosen.paths:
        if path not in named:
            message = (
                f"{printable(path)}: a weight file that nothing names ({printable(why)}); left over from another save?"
            )
            yield Finding("HF009", Severity.WARNING, message, path, hint="remove it once you know what it is")


def _check_type(checkpoint: ModelCheckpoint) -> Iterator[Finding]:
    """Yield HF015 where the config names another type.

    The weights were cast, and the config was left as it was.
    """
    components = {component.label: component for component in checkpoint.manifest.components}
    said = said_type(components["config"].state) if "config" in components else None
    if said is None:
        return
    for label in ("model", "ema"):
        infos = plain_outlines(components[label]).values() if label in components else ()
        codes = sorted({info.dtype.code for info in infos if not _may_be_packed(info.dtype)})
        if codes and TYPES[said].code not in codes:
            message = f"{CONFIG}: says that the weights are {said}, those of the {label} are {' and '.join(codes)}"
            hint = "transformers loads them as the config says, unless it is told another dtype"
            yield Finding("HF015", Severity.INFO, message, CONFIG, hint=hint)
