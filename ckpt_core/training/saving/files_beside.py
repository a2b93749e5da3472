"""The files of a tokenizer or a processor, beside a model.

Source: transformers `tokenization_utils_base.py`, `processing_utils.py` (save_pretrained); its Trainer writes them
beside each checkpoint, too, and calls the object `processing_class`.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError

_MODEL_DIRECTORY = "training-state"


class SavesFiles(Protocol):
    """An object that writes its own files: a tokenizer, a processor."""

    def save_pretrained(self, save_directory: str) -> Any: ...


def files_of(processing_class: SavesFiles | None, format: str) -> dict[str, bytes]:
    """Return the files that an object writes, by their paths.

    None where there is no object.

    Raises:
        UsageError: The format is no model directory, or it does not write files.
    """
    if processing_class is None:
        return {}
    given = argument("processing_class")
    if format != _MODEL_DIRECTORY:
        raise UsageError(
            f"{given}: its files go beside a model that transformers opens, and {format} is none; "
            f"give {argument('format', 'hf')}"
        )
    if not callable(getattr(processing_class, "save_pretrained", None)):
        raise UsageError(f"{given}: a {type(processing_class).__name__} has no save_pretrained; give a tokenizer")
    with TemporaryDirectory(prefix="ckpt-") as folder:
        processing_class.save_pretrained(folder)
        written = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(written)}
    if not files:
        raise UsageError(f"{given}: the save_pretrained of a {type(processing_class).__name__} has written nothing")
    return files
