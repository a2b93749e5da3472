"""Reads what was written in one pass, as its format's reader does.

The digests are those of the pass that wrote it; the places of the tensors are the reader's, which must be those that
they were written to. Bytes are not read back: that would ask the page cache for what it was given a moment ago.
"""

from collections.abc import Mapping

from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.read_back import ReadBack
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import TensorBytes, TensorKey, WritePlan, Written
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.schema.tensors import TensorInfo


def as_written(
    staged: StoredCheckpoint,
    source: Checkpoint,
    plan: WritePlan,
    written: Mapping[TensorKey, Written],
    files: Mapping[str, FileSeal],
) -> ReadBack | None:
    """Return the facts of a checkpoint that was just written.

    None where they have to be read.

    Args:
        staged: It, opened by the reader of its format.
        source: What it was made of.
        plan: How it was written.
        written: What was seen of each tensor.
        files: What was seen of each file.
    """
    listed = {path: entry.size for path, entry in staged.files.entries.items()}
    if listed != {path: file.size for path, file in files.items()}:
        return None
    keys = _keys(plan)
    tables = {part.label: part.tensors for part in source.manifest.components}
    found = ReadBack(files=dict(files))
    for component in staged.manifest.components:
        label = component.label
        for name, info in component.tensors.infos():
            key = keys.get((info.path, info.offset)) if info.nbytes else (label, info.alias_of or name)
            if key is None or key not in written or not _same_kind(tables[key[0]].info(key[1]), info):
                return None
            found.tensors[label, name] = written[key].target
    return found


def _keys(plan: WritePlan) -> dict[tuple[str | None, int], TensorKey]:
    """Return the tensor at each place of a plan.

    One without bytes has none of its own.
    """
    found: dict[tuple[str | None, int], TensorKey] = {}
    for file in plan.files:
        offset = 0
        for section in file.sections:
            if isinstance(section, TensorBytes) and section.length:
                found[file.path, offset] = section.key
            offset += section.length
    return found


def _same_kind(one: TensorInfo, other: TensorInfo) -> bool:
    return one.dtype is other.dtype and one.shape == other.shape
