"""Checkpoints in W&B artifacts for ckpt: found by name and version, read in ranges, downloaded and proved."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Download": "ckpt_wandb.downloading",
    "download": "ckpt_wandb.downloading",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/test_public.py pins it

if TYPE_CHECKING:
    from ckpt_wandb.downloading import Download as Download
    from ckpt_wandb.downloading import download as download
else:

    def __getattr__(name: str) -> Any:
        if name in _WHERE:
            value = getattr(import_module(_WHERE[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
