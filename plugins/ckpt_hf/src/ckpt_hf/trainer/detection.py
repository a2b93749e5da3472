"""Recognises folders of transformers' Trainer by names alone."""

import re
from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, Part
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import group, step_of
from ckpt_hf.trainer import under_deepspeed
from ckpt_hf.weights.adapter_names import ADAPTER_CONFIG, ADAPTERS

NAME = "hf-trainer"
STATE = "trainer_state.json"
_OWN = ("optimizer.pt", "optimizer.bin", "pytorch_model_fsdp.bin", "scheduler.pt", "scaler.pt")
RNG = re.compile(r"rng_state(?:_(\d+))?\.pth")
_FSDP = re.compile(r"(pytorch_model_fsdp|optimizer)_\d+")


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of the Trainer.

    A folder whose saving was stopped has one, too.
    """
    for folder in folders(files):
        evidence = _evidence(folder)
        if evidence:
            step = step_of(folder.name)
            yield FormatMatch(NAME, Confidence.CERTAIN, evidence, folder.root, step, tuple(_parts(files, folder)))


def is_trainers(folder: Folder) -> bool:
    """Return True if the Trainer has saved to a folder."""
    return bool(_evidence(folder))


def _is_container(folder: Folder) -> bool:
    """Return True for the folder of a run.

    `Trainer.save_state` leaves the last state there and nothing to go with it.
    """
    own = (*_OWN, *ADAPTERS, ADAPTER_CONFIG)
    if any(name in folder.files for name in own) or group(folder.files):
        return False
    return any(step_of(name) is not None for name in folder.folders)


def _evidence(folder: Folder) -> str:
    if STATE in folder.files:
        return "" if _is_container(folder) else f"{STATE} of transformers' Trainer"
    rng = next((name for name in sorted(folder.files) if RNG.fullmatch(name)), None)
    saved = next((name for name in _OWN if name in folder.files), None)
    if step_of(folder.name) is not None and "training_args.bin" in folder.files:
        return f"training_args.bin in {folder.name}, without {STATE}, which the Trainer writes last"
    if step_of(folder.name) is not None and rng and saved:
        return f"{saved} and {rng} in {folder.name}, without {STATE}, which the Trainer writes last"
    return ""


def _parts(files: Files, folder: Folder) -> Iterator[Part]:
    """Yield the directories that other formats own.

    They are FSDP's shards and DeepSpeed's tag.
    """
    for name in sorted(folder.folders):
        if _FSDP.fullmatch(name):
            yield Part(name, "model" if name.startswith("pytorch_model") else "optimizer", "dcp")
    tag = under_deepspeed.part_of(files, folder.root, folder.folders)
    if tag is not None:
        yield tag
