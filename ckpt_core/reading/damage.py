"""Marks accepted damage as a taint before anything is read.

All that comes of it can be marked then.
"""

from dataclasses import replace

from ckpt_core.reading.checkpoints import StoredCheckpoint, places
from ckpt_core.schema.causes import ALL, DAMAGED
from ckpt_core.schema.tensors import ByteRange


def note_damage(checkpoint: StoredCheckpoint) -> None:
    """Read every tensor and mark each damaged one as tainted.

    This is for a checkpoint whose damage is accepted. Damage to what the tensors were named by, such as a header, is
    damage to all tensors of that file; of a file without tensors, to all there are. A tensor that is computed, and lies
    in no file, may be made of any of it.
    """
    checkpoint.confirm()
    for component in checkpoint.manifest.components:
        for name in component.tensors:
            checkpoint.prove(component.label, name)
    tainted: dict[str, str] = {}
    for _, where, opened in checkpoint.files.damage():
        wide = ByteRange(where.path, 0, 1 << 62) if opened else where
        names = _tensors_in(checkpoint, wide) or _tensors_in(checkpoint, ByteRange(where.path, 0, 1 << 62)) or [ALL]
        tainted.update(dict.fromkeys([*names, *_computed(checkpoint)], DAMAGED))
    checkpoint.manifest = replace(checkpoint.manifest, tainted={**tainted, **checkpoint.manifest.tainted})


def _computed(checkpoint: StoredCheckpoint) -> list[str]:
    return [
        f"{component.label}/{name}"
        for component in checkpoint.manifest.components
        for name, info in component.tensors.infos()
        if info.nbytes and not any(places(component, name, info))
    ]


def _tensors_in(checkpoint: StoredCheckpoint, where: ByteRange) -> list[str]:
    return [
        f"{component.label}/{name}"
        for component in checkpoint.manifest.components
        for name, info in component.tensors.infos()
        if any(
            path == where.path and start < where.end and end > where.offset
            for path, start, end in places(component, name, info)
        )
    ]
