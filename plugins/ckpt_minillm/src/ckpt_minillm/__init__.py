"""MiniLLM and minimind checkpoints for ckpt.

Their trainers have functions here that find, load and save them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "CheckpointLoader": "ckpt_minillm.checkpoint_loader",
    "InitReport": "ckpt_minillm.trainer.reports",
    "SaveReports": "ckpt_minillm.trainer.reports",
    "add_checkpoint_arguments": "ckpt_minillm.trainer.arguments",
    "init_from_args": "ckpt_minillm.trainer.starting",
    "save_checkpoint": "ckpt_minillm.trainer.saving",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/test_public.py pins it

if TYPE_CHECKING:
    from ckpt_minillm.checkpoint_loader import CheckpointLoader as CheckpointLoader
    from ckpt_minillm.trainer.arguments import add_checkpoint_arguments as add_checkpoint_arguments
    from ckpt_minillm.trainer.reports import InitReport as InitReport
    from ckpt_minillm.trainer.reports import SaveReports as SaveReports
    from ckpt_minillm.trainer.saving import save_checkpoint as save_checkpoint
    from ckpt_minillm.trainer.starting import init_from_args as init_from_args
else:

    def __getattr__(name: str) -> Any:
        if name in _WHERE:
            value = getattr(import_module(_WHERE[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
