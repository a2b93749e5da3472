"""Finds models in folders below a checkpoint.

It tells if each is an average.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import CkptError, Files, Part
from ckpt_hf.folders import Folder
from ckpt_hf.names import CONFIG, group, step_of

COMPONENT = "diffusion_pytorch_model"
"""The stem of the weights of a component of diffusers."""

_AVERAGE = {"decay", "optimization_step"}
"""What `EMAModel.save_pretrained` adds to a model's config. Source: diffusers `training_utils.py`."""

_STATE_FILES = ("trainer_state.json", "optimizer.bin", "optimizer.pt", "random_states_0.pkl", "training_state.pt")


def models_below(files: Files, folder: Folder, every: Mapping[str, Folder]) -> Iterator[Part]:
    """Yield a part for each model folder directly below.

    It holds weights, and is no training checkpoint of its own.
    """
    for name in sorted(folder.folders):
        root = f"{folder.root}/{name}".lstrip("/")
        below = every[root]
        if group(below.files) and step_of(name) is None and not below.files & set(_STATE_FILES):
            yield Part(name, label_below(files, root), "hf")


def label_below(files: Files, root: str) -> str:
    """Return the label of the model in a folder.

    `model:unet`, and `ema:unet` for `unet_ema`.
    """
    name = root.rpartition("/")[2]
    return f"ema:{name.removesuffix('_ema') or name}" if is_average(files, root) else f"model:{name}"


def has_pieces_of_diffusers(folder: Folder, every: Mapping[str, Folder]) -> bool:
    """Return True if models of diffusers lie directly below."""
    return any(
        name.startswith(COMPONENT)
        for child in folder.folders
        for name in every[f"{folder.root}/{child}".lstrip("/")].files
    )


def is_average(files: Files, root: str) -> bool:
    """Return True if a folder holds averaged weights.

    Its config says so; where it says nothing, the folder's name does.
    """
    config = head_json(files, f"{root}/{CONFIG}".lstrip("/"))
    if config is None:
        return root.rpartition("/")[2].endswith("_ema")
    return config.keys() >= _AVERAGE


def head_json(files: Files, path: str) -> dict[str, Any] | None:
    """Return a JSON object from a file's first bytes.

    None where it does not fit, or is not one.
    """
    if path not in files.entries:
        return None
    try:
        content = json.loads(files.head(path))
    except (ValueError, RecursionError, CkptError):
        return None
    return content if isinstance(content, dict) else None
