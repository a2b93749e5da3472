"""Checkpoints in W&B artifacts for ckpt.

They are found by name and version, read in ranges, downloaded and proved.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Download": "ckpt_wandb.downloading",
    "Resumption": "ckpt_wandb.trainer.resumption",
    "Upload": "ckpt_wandb.uploading",
    "add_arguments": "ckpt_wandb.trainer.arguments",
    "download": "ckpt_wandb.downloading",
    "resolve": "ckpt_wandb.trainer.resolving",
    "subset_indices": "ckpt_wandb.trainer.arguments",
    "upload": "ckpt_wandb.uploading",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/test_public.py pins it

if TYPE_CHECKING:
    from ckpt_wandb.downloading import Download as Download
    from ckpt_wandb.downloading import download as download
    from ckpt_wandb.trainer.arguments import add_arguments as add_arguments
    from ckpt_wandb.trainer.arguments import subset_indices as subset_indices
    from ckpt_wandb.trainer.resolving import resolve as resolve
    from ckpt_wandb.trainer.resumption import Resumption as Resumption
    from ckpt_wandb.uploading import Upload as Upload
    from ckpt_wandb.uploading import upload as upload
else:

    def __getattr__(name: str) -> Any:
        if name in _WHERE:
            value = getattr(import_module(_WHERE[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
