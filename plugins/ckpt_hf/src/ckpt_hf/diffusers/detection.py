"""Recognises folders that diffusers has written.

Names tell, and for models below the head of their config.
"""

from collections.abc import Iterator, Mapping

from ckpt_core import Confidence, Files, FormatMatch
from ckpt_core.layouts import step_of_name
from ckpt_hf.accelerate.detection import LORA
from ckpt_hf.accelerate.detection import claim as claim_of_accelerate
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import CONFIG
from ckpt_hf.nested_models import COMPONENT, has_pieces_of_diffusers, models_below

NAME = "diffusers"
INDEX = "model_index.json"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of diffusers.

    It is a pipeline, a component, a LoRA or a training checkpoint.
    """
    every = {folder.root: folder for folder in folders(files)}
    for folder in every.values():
        claimed = _claim(folder, every)
        if claimed is None:
            continue
        confidence, evidence, nested = claimed
        parts = tuple(models_below(files, folder, every)) if nested else ()
        yield FormatMatch(NAME, confidence, evidence, folder.root, step_of_name(folder.name), parts)


def _claim(folder: Folder, every: Mapping[str, Folder]) -> tuple[Confidence, str, bool] | None:
    """Return confidence, evidence, and if models lie below."""
    if INDEX in folder.files | folder.closed:
        return Confidence.CERTAIN, f"{INDEX} of a pipeline", True
    lora = next((name for name in LORA if name in folder.files), None)
    training = claim_of_accelerate(folder, every)
    if training is not None and (lora or has_pieces_of_diffusers(folder, every)):
        confidence, evidence = training
        return confidence, f"{evidence}, beside {lora or 'models of diffusers'}", True
    weights = next((name for name in sorted(folder.files) if name.startswith(COMPONENT)), None)
    if weights is not None:
        sure = Confidence.CERTAIN if CONFIG in folder.files else Confidence.LIKELY
        return sure, f"{weights} {'beside' if CONFIG in folder.files else 'without'} {CONFIG}", False
    if lora is not None:
        return Confidence.CERTAIN, f"{lora} of a LoRA", False
    return None
