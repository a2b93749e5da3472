"""Recognises directories of DCP's safetensors shards.

Names and the first header tell.
"""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.hf_shards.names import FOLDER, INDEX, ShardName, is_whole, parse

SHARDING = "DCP_SHARDING_INFO"
"""Key of `__metadata__` under which each shard has where its boxes start."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory with shards.

    The match is for the directory above their `sharded/` where nothing was joined there.
    """
    if files.location.kind is LocationKind.FILE:
        return
    joined = {path.rpartition("/")[0] for path in files.entries if is_whole(path) or _name(path) == INDEX}
    for folder, shards in sorted(_by_folder(files).items()):
        parent, _, last = folder.rpartition("/")
        root = parent if last == FOLDER and parent not in joined else folder
        yield _match(files, root, folder, shards)


def _by_folder(files: Files) -> dict[str, list[ShardName]]:
    by_folder: dict[str, list[ShardName]] = {}
    for path in files.entries:
        name = parse(path) if _name(path).startswith("shard-") else None
        if name is not None:
            by_folder.setdefault(path.rpartition("/")[0], []).append(name)
    return by_folder


def _match(files: Files, root: str, folder: str, shards: list[ShardName]) -> FormatMatch:
    marked = SHARDING.encode() in files.head(shards[0].path)
    ranks = len({shard.rank for shard in shards})
    seen = f"{len(shards)} shards of {ranks} ranks" + (f" in {FOLDER}/" if root != folder else "")
    evidence = f"{seen}, {SHARDING} in the header" if marked else seen
    named = root.removesuffix(FOLDER).rstrip("/") if root else files.location.name
    step = step_of_name(named) if named else None
    confidence = Confidence.CERTAIN if marked else Confidence.LIKELY
    return FormatMatch("dcp-safetensors", confidence, evidence, root, step)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
