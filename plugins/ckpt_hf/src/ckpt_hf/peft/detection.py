"""Recognises folders of adapters.

They are those that are no part of another checkpoint.
"""

from collections.abc import Iterator, Mapping

from ckpt_core import Confidence, Files, FormatMatch
from ckpt_core.layouts import step_of_name
from ckpt_hf.accelerate.detection import claim as claim_of_accelerate
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import WeightSet, group
from ckpt_hf.trainer.detection import is_trainers
from ckpt_hf.weights.adapter_names import ADAPTER_CONFIG, ADAPTERS, is_adapter_folder, is_named_adapter

NAME = "peft"
_TRAINING = "training_state.pt"

_SEPARATED = "peft_adapters"
"""The folder in which DyLoRA-MoE keeps its experts, whose own format reads them."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of adapters.

    It is no part of another checkpoint.
    """
    every = {folder.root: folder for folder in folders(files)}
    for folder in every.values():
        claimed = _claim(files, folder, every)
        if claimed is not None and not _is_part(folder, every) and not _of_training(folder, every):
            yield FormatMatch(NAME, *claimed, folder.root, step_of_name(folder.name))


def _claim(files: Files, folder: Folder, every: Mapping[str, Folder]) -> tuple[Confidence, str] | None:
    held = next((name for name in ADAPTERS if name in folder.files), None)
    if ADAPTER_CONFIG in folder.files and held is not None:
        return Confidence.CERTAIN, f"{ADAPTER_CONFIG} beside {held}"
    named = [name for name in sorted(folder.folders) if _is_named(every[f"{folder.root}/{name}".lstrip("/")])]
    if not named and not is_adapter_folder(folder.files):
        return None
    weights = group(folder.files)
    if weights:
        factors = ADAPTER_CONFIG in folder.files and _mentions_factors(files, folder, weights[0])
        return (Confidence.CERTAIN, f"{ADAPTER_CONFIG} beside factors in {weights[0].shown}") if factors else None
    if held is not None:
        return Confidence.CERTAIN, f"{held} without {ADAPTER_CONFIG}"
    if named:
        return Confidence.CERTAIN, f"adapters in the folders {', '.join(named[:4])}"
    return Confidence.LIKELY, f"{ADAPTER_CONFIG} without weights"


def _is_named(folder: Folder) -> bool:
    return is_named_adapter(folder.name, folder.files) and not is_trainers(folder)


def _is_part(folder: Folder, every: Mapping[str, Folder]) -> bool:
    """Return True if an adapter belongs to another folder's save.

    It is one with a name, of the save in the folder above, or an expert of DyLoRA-MoE.
    """
    if _SEPARATED in folder.root.split("/") or not folder.root:
        return _SEPARATED in folder.root.split("/")
    above = every[folder.root.rpartition("/")[0]]
    whole_model = bool(group(above.files)) and not is_adapter_folder(above.files) and not _of_training(above, every)
    return _is_named(folder) and not whole_model


def _of_training(folder: Folder, every: Mapping[str, Folder]) -> bool:
    """Return True if a trainer's format claims the folder.

    That format reads the adapters in it.
    """
    return is_trainers(folder) or _TRAINING in folder.files or claim_of_accelerate(folder, every) is not None


def _mentions_factors(files: Files, folder: Folder, weights: WeightSet) -> bool:
    path = f"{folder.root}/{weights.single or weights.paths[0]}".lstrip("/")
    head = files.head(path)
    return b"lora_A" in head or b"lora_B" in head
