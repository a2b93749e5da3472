"""The formats that a training can be saved in."""

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.manager.plugin_manager import get_plugin_manager
from ckpt_core.schema.locations import LocationKind

_WEIGHTS_ONLY = ("hf",)
"""Formats of directories that have a place for a model, and for nothing else of a training."""


def directory_format(name: str) -> str:
    """Return the name of a format that writes directories, in which a training can be resumed.

    Raises:
        UsageError: It does not, or nothing is known by that name.
    """
    known = [
        one.name
        for one in get_plugin_manager().formats()
        if one.writes is LocationKind.DIRECTORY and one.name not in _WEIGHTS_ONLY
    ]
    if name not in known:
        raise UsageError(
            f"{argument('format', name)}: cannot hold a training; those that can are {', '.join(sorted(known))}; "
            "for other programs convert a checkpoint with ckpt convert"
        )
    return name
