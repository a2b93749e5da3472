"""Proves that every box lies where its rank has put it.

Bytes are not read back. Each rank has digested the copy that it wrote, and what is proved here is that a reader finds
all boxes at their places, that they make whole tensors, and that plain values came back as they were.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckpt_core.errors import CorruptError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.coverage import check_component
from ckpt_core.reading.read_back import ReadBack
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import TensorBytes, TensorKey, WritePlan
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.schema.tensors import Box, TensorEntry
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.verbs.saving.proof import prove_state, unproved


class _Place(NamedTuple):
    path: str
    start: int
    stop: int


_Places = Mapping[tuple[str, str, Box], _Place]


def prove_pieces(staged: StoredCheckpoint, checkpoint: PiecedCheckpoint, target: StagedTarget) -> ReadBack:
    """Return what was written, once it is proved.

    Args:
        staged: It, opened by the reader of its format.
        checkpoint: What it was made of.
        target: Where, with what every rank has seen.

    Returns:
        The digests of the files, and those of the components of which each tensor was written whole by a rank.

    Raises:
        CorruptError: A box is not where it was put, or a value is another one.
    """
    assert target.planned is not None and target.digested is not None
    prove_sizes(staged, target.digested)
    places = dict(_places(target.planned, checkpoint))
    for component in checkpoint.manifest.components:
        if component.tensors:
            _prove_tensors(component, staged.component(component.label), places)
        prove_state(component, staged)
    prove_coverage(staged)
    return ReadBack(files=dict(target.digested), tensors=dict(_whole(checkpoint, target)))


def prove_coverage(staged: StoredCheckpoint) -> None:
    """Raise CorruptError where boxes do not make whole tensors."""
    for component in staged.manifest.components:
        for finding in check_component(staged.files, component):
            if finding.severity is Severity.ERROR:
                raise CorruptError(finding.message, code=finding.code, path=finding.path, tensor=finding.tensor)


def prove_sizes(staged: StoredCheckpoint, files: Mapping[str, FileSeal]) -> None:
    """Raise CorruptError where a staged file has another size."""
    listed = {path: entry.size for path, entry in staged.files.entries.items()}
    for path, size in {path: file.size for path, file in files.items()}.items():
        if listed.get(path) != size:
            raise unproved(path, f"{size} bytes were written, and {listed.get(path, 0)} are there")


def _places(plan: WritePlan, checkpoint: PiecedCheckpoint) -> Iterator[tuple[tuple[str, str, Box], _Place]]:
    for file in plan.files:
        at = 0
        for section in file.sections:
            if isinstance(section, TensorBytes):
                shape = checkpoint.manifest.component(section.component).tensors.info(section.name).shape
                box = section.box or ((0,) * len(shape), shape)
                yield (*section.key, box), _Place(file.path, at, at + section.length)
            at += section.length


def _prove_tensors(wanted: Component, staged: Component, places: _Places) -> None:
    if extra := sorted(set(staged.tensors) - set(wanted.tensors)):
        raise unproved(extra[0], "is in what was written and was not asked for")
    for name, entry in wanted.tensors.items():
        if name not in staged.tensors:
            raise unproved(name, "is not in what was written")
        _prove_boxes(wanted.label, name, entry, staged.tensors[name], places)


def _prove_boxes(label: str, name: str, wanted: TensorEntry, staged: TensorEntry, places: _Places) -> None:
    if (staged.dtype, staged.shape) != (wanted.dtype, wanted.shape):
        raise unproved(name, f"is {staged.dtype.code} of {staged.shape} in what was written")
    boxes = {(chunk.offsets, chunk.sizes): chunk.stored for chunk in staged.chunks}
    for chunk in wanted.chunks:
        box = chunk.offsets, chunk.sizes
        place = places.get((label, name, box)) or places[label, str(wanted.alias_of), box]
        stored = boxes.get(box)
        if stored is None or stored.path != place.path or not stored.offset <= place.start <= place.stop <= stored.end:
            raise unproved(name, f"its box at {chunk.offsets} is not found where it was written")


def _whole(checkpoint: PiecedCheckpoint, target: StagedTarget) -> Iterator[tuple[TensorKey, str]]:
    """Yield the digests of components whose tensors were written whole."""
    for component in checkpoint.manifest.components:
        infos = list(component.tensors.infos())
        seen = [target.written.get((component.label, info.alias_of or name)) for name, info in infos]
        for (name, _), one in zip(infos, seen, strict=True):
            if one is not None and None not in seen:
                yield (component.label, name), one.target
