"""A checkpoint made thin.

It is the same without the optimizer, which is two thirds of it, in its place.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.log import Logger
from ckpt_core.reading.selection import select
from ckpt_core.schema.text import redact
from ckpt_core.storage.sealing import read_seal
from ckpt_core.verbs.load import load
from ckpt_core.verbs.save import save

_log = Logger(__name__)

_DROPPED = ("optimizer",)
_DROPPED_LABELS = ("progress:gradients",)


def make_thin(place: str) -> None:
    """Write a checkpoint without its optimizer in place of it.

    It is read back and proved; what is thin stays as it is.

    Until the thin one is whole the old one is there.

    Raises:
        CkptError: It cannot be read or written, or is damaged; it is as it was.
    """
    checkpoint = load(place)
    labels = [part.label for part in checkpoint.manifest.components]
    kept = [label for label in labels if label.partition(":")[0] not in _DROPPED and label not in _DROPPED_LABELS]
    if kept == labels:
        return
    seal = read_seal(checkpoint.files)
    said: Mapping[str, Any] = {} if seal is None else {"run": seal.provenance.get("run")}
    view = select(checkpoint, components=kept)
    save(view, place, format=checkpoint.match.format, force=True, provenance={**said, "thinned": True})
    _log.info("made thin: %s", redact(place))
