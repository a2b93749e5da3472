"""Recognises folders of Accelerate's `save_state` by names alone."""

import re
from collections.abc import Iterable, Iterator, Mapping

from ckpt_core import Confidence, Files, FormatMatch
from ckpt_core.layouts import step_of_name
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import group
from ckpt_hf.nested_models import has_pieces_of_diffusers, models_below

NAME = "accelerate"
RNG = re.compile(r"random_states_(\d{1,18})\.pkl")
_MODEL = re.compile(r"(?:model(?:_(\d{1,3}))?\.safetensors|pytorch_model(?:_(\d{1,3}))?\.bin)")
_OF_OTHERS = re.compile(r"trainer_state\.json|training_args\.bin|training_state\.pt|pytorch_model_fsdp.*")
_SHARDED = re.compile(r"pytorch_model_fsdp_\d+|optimizer_\d+")

LORA = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
"""Weights of a LoRA that diffusers saves; its own format reads them, and the training state beside them."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of `save_state`.

    A folder whose saving was stopped has one, too.
    """
    every = {folder.root: folder for folder in folders(files)}
    for folder in every.values():
        claimed = claim(folder, every)
        if claimed is not None and not has_pieces_of_diffusers(folder, every) and not folder.files & set(LORA):
            parts = () if numbered_models(folder.files) else tuple(models_below(files, folder, every))
            yield FormatMatch(NAME, *claimed, folder.root, step_of_name(folder.name), parts)


def claim(folder: Folder, every: Mapping[str, Folder]) -> tuple[Confidence, str] | None:
    """Return confidence and evidence of an Accelerate state.

    None where the folder does not hold one.
    """
    if _is_of_others(folder, every):
        return None
    rng = next((name for name in sorted(folder.files) if RNG.fullmatch(name)), None)
    if rng is not None:
        return Confidence.CERTAIN, f"{rng} of Accelerate"
    beside = folder.files & {"scheduler.bin", "sampler.bin", "dl_state_dict.bin", "custom_checkpoint_0.pkl"}
    if "optimizer.bin" in folder.files and (beside or group(folder.files)):
        seen = sorted(beside or {weights.shown for weights in group(folder.files)})[0]
        return Confidence.LIKELY, f"optimizer.bin beside {seen}, without random_states_0.pkl, which comes last"
    return None


def numbered_models(names: Iterable[str]) -> dict[int, str]:
    """Return the file of each model, by number.

    safetensors wins where two have one number, as Accelerate loads them.
    """
    by_number: dict[int, str] = {}
    for name in sorted(names, key=lambda name: name.endswith(".safetensors")):
        known = _MODEL.fullmatch(name)
        if known is not None:
            by_number[int(known[1] or known[2] or 0)] = name
    return by_number


def _is_of_others(folder: Folder, every: Mapping[str, Folder]) -> bool:
    """Return True if another trainer wrote the folder.

    It was the Trainer, FSDP or DeepSpeed, whose own formats know more of it.
    """
    if any(map(_OF_OTHERS.fullmatch, folder.files)) or any(map(_SHARDED.fullmatch, folder.folders)):
        return True
    below = (every[f"{folder.root}/{name}".lstrip("/")] for name in folder.folders)
    return any(name.endswith("_states.pt") for one in (folder, *below) for name in one.files)
