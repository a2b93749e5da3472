"""The state that a Trainer does not save.

It is in a file of its own in each of the Trainer's checkpoints.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_core.errors import LoadRefusedError
from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training.values import torch_state
from ckpt_core.verbs.load import load
from ckpt_core.verbs.save import save

FILE = "ckpt_state.pt"


class Beside:
    """The state of objects by the labels of their components.

    Args:
        objects: Makes each object, or gives it: that of a model is another one once the Trainer has made its model.
    """

    def __init__(self, objects: Mapping[str, Callable[[], Any]]) -> None:
        self._objects = objects

    def write(self, folder: str) -> None:
        """Write it to a folder that is named and sealed later."""
        if self._objects:
            parts = {label: made().state_dict() for label, made in self._objects.items()}
            save(checkpoint_of_parts(parts), os.path.join(folder, FILE), format="torch")

    def filling(self, checkpoint: StoredCheckpoint) -> Callable[[], None]:
        """Return the function that gives each object its state.

        The states were read and fit; nothing is changed yet.

            Raises:
                LoadRefusedError: It was not saved, or does not fit.
                CkptError: It cannot be read.
        """
        values = {label: self._value(checkpoint, label) for label in self._objects}
        for label, value in values.items():
            self._objects[label]().refuse(value)

        def fill() -> None:
            for label, value in values.items():
                self._objects[label]().load_state_dict(value)

        return fill

    def _value(self, checkpoint: StoredCheckpoint, label: str) -> Any:
        where = f"{checkpoint.location}, {label}"
        if FILE not in checkpoint.files.entries:
            raise LoadRefusedError(f"{where}: it was not saved, and the training has one; nothing was changed")
        stored = load(os.path.join(checkpoint.location.url, FILE))
        known = {part.label: part for part in stored.manifest.components}
        if label not in known:
            raise LoadRefusedError(f"{where}: it was not saved, and the training has one; nothing was changed")
        return torch_state(stored, known[label])
