"""Recognises folders of ModularTrainer by names alone."""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch
from ckpt_hf.folders import folders
from ckpt_hf.names import step_of
from ckpt_hf.trainer.detection import STATE as TRAINER_STATE

NAME = "training-state"
STATE = "training_state.pt"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder with a training_state.pt.

    A folder of transformers' Trainer has none.
    """
    for folder in folders(files):
        if STATE in folder.files and TRAINER_STATE not in folder.files:
            yield FormatMatch(NAME, Confidence.CERTAIN, f"{STATE} of ModularTrainer", folder.root, step_of(folder.name))
