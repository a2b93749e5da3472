"""A plan carried out by several ranks at once.

Each writes its own files in one pass, and all learn what was seen.

Memory: a chunk a worker, two at least; of a store the parts that are open; and a copy of what lies on a device, or not
row-major.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xxhash

from ckpt_core.errors import CkptError, CorruptError
from ckpt_core.schema.access import Progress
from ckpt_core.schema.plans import FilePlan, TensorBytes, WritePlan, Written
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.writing.by_ranks.own_files import own_plan, owners_of
from ckpt_core.storage.writing.from_memory.one_pass import FilesOut, WrittenFiles, write_files
from ckpt_core.storage.writing.jobs import as_lines, of_lines


def write_by_ranks(
    plan: WritePlan,
    checkpoint: PiecedCheckpoint,
    files_of: Callable[[WritePlan], FilesOut],
    *,
    format: str,
    ranks: Ranks,
    progress: Progress | None = None,
) -> WrittenFiles:
    """Write every file of a plan, shared among the ranks.

    Each is written by the rank that holds its tensors; all of them are made to last.

    Args:
        plan: The files of the whole checkpoint.
        checkpoint: What it is a plan of.
        files_of: Makes the files of this rank, for a plan of its own.
        format: Name of the format, for messages.
        ranks: The processes that write, all of which call this.
        progress: Told of the bytes that this rank writes.

    Returns:
        What was seen, at rank 0 by whichever rank: of every file its digests, of each tensor that one rank has whole
        its own. Any other has what it has seen itself.

    Raises:
        CorruptError: A rank has planned its files otherwise than rank 0 has.
        UnsupportedFormatError: A file is to hold what no single rank has.
        BudgetError: The disk is full.
        CkptError: A write failed, here or at another rank; nothing is named yet.
    """
    owners = owners_of(plan, checkpoint, format)
    mine = [file for file in plan.files if owners[file.path] == ranks.rank]
    seen = _write(mine, checkpoint, files_of, ranks, progress)
    told = ranks.to_leader([{file.path: _layout(file) for file in mine}, *_plain(seen)])
    if told is None:
        return seen
    _refuse_other_layouts([layouts for layouts, *_ in told], plan, owners)
    return _joined([one for _, *one in told])


def _layout(file: FilePlan) -> str:
    """Return a digest of which tensors lie in a file, and where."""
    digest = xxhash.xxh3_128(f"{file.size} {len(file.sections)}".encode())
    for section in file.sections:
        if isinstance(section, TensorBytes):
            digest.update(f"\n{section.component}/{section.name} {section.length}".encode("utf-8", "surrogatepass"))
    return str(digest.hexdigest())


def _refuse_other_layouts(told: Sequence[Mapping[str, str]], plan: WritePlan, owners: Mapping[str, int]) -> None:
    for file in plan.files:
        if told[owners[file.path]].get(file.path) != _layout(file):
            raise CorruptError(
                f"{file.path}: rank {owners[file.path]} has planned it otherwise than rank 0; give all ranks the same "
                "code, options and step; nothing was committed",
                path=file.path,
            )


def _write(
    mine: Sequence[FilePlan],
    checkpoint: PiecedCheckpoint,
    files_of: Callable[[WritePlan], FilesOut],
    ranks: Ranks,
    progress: Progress | None,
) -> WrittenFiles:
    addresses = checkpoint.own.addresses()
    if addresses is None:
        raise CkptError("a piece of this rank has no place in memory")  # `own` has made copies of such
    own = own_plan(mine, checkpoint)
    whole = {(part.label, name) for part in checkpoint.manifest.components for name in part.tensors}
    out = files_of(own)
    return write_files(own, checkpoint.own, addresses, out, progress=progress, check=ranks.check, wanted=whole)


def _plain(seen: WrittenFiles) -> list[Any]:
    files = [[path, one.size, one.root, one.blocks.hex()] for path, one in seen.files.items()]
    return [as_lines(seen.tensors), files]


def _joined(every: Sequence[list[Any]]) -> WrittenFiles:
    tensors: dict[tuple[str, str], Written] = {}
    files: dict[str, FileSeal] = {}
    for lines, seals in every:
        tensors.update(of_lines(lines))
        files.update({path: FileSeal(size, root, bytes.fromhex(blocks)) for path, size, root, blocks in seals})
    return WrittenFiles(tensors, files)
