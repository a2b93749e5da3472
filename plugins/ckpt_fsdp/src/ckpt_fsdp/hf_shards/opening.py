"""Opens the format `dcp-safetensors`.

The shards of all ranks are one table; else every reason is given why that cannot be.
"""

from ckpt_core import (
    Component,
    Files,
    FormatMatch,
    LoadRequest,
    Manifest,
    StoredCheckpoint,
    UnsupportedFormatError,
)
from ckpt_fsdp.hf_shards.boxes import Shards, read_shards
from ckpt_fsdp.hf_shards.consolidated import Joined, agreed, extend
from ckpt_fsdp.hf_shards.missing import missing
from ckpt_fsdp.hf_shards.names import FOLDER, shards_of


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the header of every shard.

    Raises:
        CorruptError: A shard breaks a rule, or contradicts another; the message names it. `verify` lists all of them.
    """
    shards = open_shards(files)
    if shards.errors:
        raise shards.errors[0]
    joined = Joined(files)
    findings = [*joined.findings, *extend(shards, joined)]
    findings += missing(shards, ranks=request.options.get("world_size"), whole=agreed(shards, joined))
    model = Component("model", shards.table())
    return StoredCheckpoint(files, match, Manifest((model,), metadata=shards.metadata, findings=tuple(findings)))


def open_shards(files: Files) -> Shards:
    """Return the headers of all shards, and what is wrong.

    Raises:
        UnsupportedFormatError: Nothing here has the name of a shard.
    """
    names = shards_of(files.entries)
    if not names:
        text = f"{files.location}: no shard-…-model-…-of-….safetensors here, nor in {FOLDER}/; check the name"
        raise UnsupportedFormatError(text, code="CK016")
    return read_shards(files, names)
