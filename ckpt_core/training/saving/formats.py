"""The formats that a training can be saved in.

Each says what it wants a training to be like.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.manager.plugin_manager import get_plugin_manager
from ckpt_core.schema.locations import LocationKind
from ckpt_core.training.saving.modular_layout import configs_of, in_its_words
from ckpt_core.verbs.forecast import draw_plan

if TYPE_CHECKING:
    import torch

_MODEL_DIRECTORY = "training-state"
"""What a model directory of Hugging Face is called that holds the state of a training too."""


def directory_format(name: str, model: "torch.nn.Module") -> str:
    """Return the format that is written for a name.

    One of directories, in which a training can be resumed.

    Raises:
        UsageError: It does not write such, or nothing is known by that name; or it wants another model.
    """
    written = [one.name for one in get_plugin_manager().formats() if one.writes is LocationKind.DIRECTORY]
    if name not in written:
        raise UsageError(
            f"{argument('format', name)}: cannot hold a training; those that can are {', '.join(sorted(written))}; "
            "for other programs convert a checkpoint with ckpt convert"
        )
    if name != "hf":
        return name
    if not configs_of(model):
        raise UsageError(
            f"{argument('format', name)}: a {type(model).__name__} has no config, and no transformers could open it; "
            f"save it as {_MODEL_DIRECTORY} or bundle"
        )
    return _MODEL_DIRECTORY


def in_format(name: str, parts: Mapping[str, Any], model: "torch.nn.Module") -> Mapping[str, Any]:
    """Return a training's parts under the names of a format.

    They are those that its readers look for.
    """
    return in_its_words(parts, model) if name == _MODEL_DIRECTORY else parts


def refuse_unheld(name: str, parts: Callable[[], Mapping[str, Any]]) -> None:
    """Refuse, before the first step, what a format has no place for.

    Nothing is written.

    Raises:
        UsageError: It would lose something of these parts.
    """
    if name != _MODEL_DIRECTORY:
        return
    try:
        draw_plan(get_plugin_manager(), checkpoint_of_parts(parts()), "", name, {})
    except UnsupportedFormatError as error:
        raise UsageError(f"{argument('format', name)}: {error.message}; a bundle holds it") from error
