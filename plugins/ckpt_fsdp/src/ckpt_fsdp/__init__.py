"""Sharded checkpoints for ckpt.

One process reads what many ranks wrote as one table, without torch. `ckpt_fsdp.live` is for the ranks of a training
under way; what it has is here under its name, imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "CkptStorageReader": "ckpt_fsdp.live.storage_reader",
    "CkptStorageWriter": "ckpt_fsdp.live.storage_writer",
    "ShardedCheckpointManager": "ckpt_fsdp.live.checkpoint_manager",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - the names of the table

if TYPE_CHECKING:
    from ckpt_fsdp.live.checkpoint_manager import ShardedCheckpointManager as ShardedCheckpointManager
    from ckpt_fsdp.live.storage_reader import CkptStorageReader as CkptStorageReader
    from ckpt_fsdp.live.storage_writer import CkptStorageWriter as CkptStorageWriter


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
