"""Recovers the metadata of a distributed checkpoint.

The items of a `.distcp` file hold elements and shapes of parts: neither the name of their tensor nor their place in
it. So it is had from another copy of the metadata only: the one that a save wrote and did not get to rename, or those
of the ranks; and only where that agrees with every shard, to the byte of its length.
"""

from collections.abc import Iterator, Mapping, Sequence

from ckpt_core import CkptError, Files, Irreparable, Operation, RepairAction, VerifyReport, printable
from ckpt_fsdp.dcp.detection import METADATA, DirectoryContent, rank_of, survey
from ckpt_fsdp.dcp.metadata import DcpMetadata, parse_metadata
from ckpt_fsdp.dcp.tables import rank_of_shard

_MISSING = "DC001"
_UNREADABLE = ("DC002", "PK001")
_TMP = ".tmp"

_NOT_DERIVABLE = (
    "the items of .distcp files hold neither the names of their tensors nor their places in them, so .metadata cannot "
    "be made from them; copy it from where the checkpoint was made, or from another copy: it is a dot-file, which cp * "
    "and many uploads leave behind"
)


def propose(files: Files, report: VerifyReport) -> Iterator[RepairAction | Irreparable]:
    """Yield repairs for directories with missing or unreadable metadata."""
    directories = survey(files)
    for finding in report.findings:
        root, _, name = (finding.path or "").rpartition("/")
        content = directories.get(root)
        if content is None or not content.shards:
            continue
        if finding.code == _MISSING or (finding.code in _UNREADABLE and name == METADATA):
            actions, reason = _again(files, root, content)
            yield from actions
            if not actions:
                yield Irreparable(reason, finding.code, finding.path)


def _again(files: Files, root: str, content: DirectoryContent) -> tuple[list[RepairAction], str]:
    """Return the operations that restore a whole metadata.

    The text is the reason where there are none.
    """
    broken = f"{root}/{METADATA}".lstrip("/")
    whole = [path for path in content.unfinished if path == broken + _TMP]
    if whole:
        reason = disagreement(files, root, whole, content.shards)
        summary = "the save wrote this metadata whole, and stopped before it was renamed; it agrees with every shard"
        if reason:
            return [], f"{printable(whole[0])} is no metadata of these shards ({reason}); {_NOT_DERIVABLE}"
        return [RepairAction(summary, Operation.RENAME, broken, source=whole[0])], ""
    if content.others and broken in files.entries:
        reason = disagreement(files, root, content.others, content.shards) or _lacking_ranks(content)
        if not reason:
            summary = "remove a metadata that cannot be read; those of all ranks are whole, and say what it would"
            return [RepairAction(summary, Operation.REMOVE, broken)], ""
        return [], f"those of the ranks do not stand for it ({reason}); {_NOT_DERIVABLE}"
    return [], _NOT_DERIVABLE


def disagreement(files: Files, root: str, paths: Sequence[str], shards: Sequence[str]) -> str:
    """Return why metadata files do not describe these shards.

    Each to its last byte; "" where they do.
    """
    prefix = f"{root}/" if root else ""
    try:
        parsed = [parse_metadata(files.read(path), path=path) for path in paths]
    except CkptError as error:
        return error.message.partition(": ")[2] or error.message
    ends: dict[str, int] = {}
    for metadata in parsed:
        for path, end in _ends(metadata).items():
            ends[prefix + path] = max(ends.get(prefix + path, 0), end)
    return _differing(files, ends, shards)


def _differing(files: Files, ends: Mapping[str, int], shards: Sequence[str]) -> str:
    for path in sorted({*ends, *shards}):
        if path not in ends:
            return f"it does not name {printable(path)}"
        if path not in files.entries:
            return f"it names {printable(path)}, which is not here"
        if files.size(path) != ends[path]:
            return f"{printable(path)} has {files.size(path)} bytes, and it names {ends[path]}"
    return ""


def _ends(metadata: DcpMetadata) -> dict[str, int]:
    """Return where the last item of each file ends, in bytes."""
    ends: dict[str, int] = {}
    tables = {id(part.table): part.table for tensor in metadata.tensors.values() for part in tensor.parts}
    for table in tables.values():
        for number, offset, length in zip(table.paths, table.offsets, table.lengths, strict=True):
            path = table.files[number]
            ends[path] = max(ends.get(path, 0), offset + length)
    for item in metadata.items.values():
        if item is not None:
            ends[item.path] = max(ends.get(item.path, 0), item.offset + item.length)
    return ends


def _lacking_ranks(content: DirectoryContent) -> str:
    """Return the rank with shards and no metadata."""
    having = {rank_of(path) for path in content.others}
    lacking = sorted({rank for rank in map(rank_of_shard, content.shards) if rank is not None} - having)
    return f"rank {lacking[0]} has shards and no metadata" if lacking else ""
