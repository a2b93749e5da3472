"""A checkpoint made thin.

It is the same without the optimizer, which is two thirds of it, in its place.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.log import Logger
from ckpt_core.reading.selection import select
from ckpt_core.schema.manifests import Component
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
    parts = checkpoint.manifest.components
    kept = [part.label for part in parts if not _is_dropped(part)]
    if len(kept) == len(parts):
        return
    seal = read_seal(checkpoint.files)
    said: Mapping[str, Any] = {} if seal is None else {"run": seal.provenance.get("run")}
    view = select(checkpoint, components=kept)
    save(view, place, format=checkpoint.match.format, force=True, provenance={**said, "thinned": True})
    _log.info("made thin: %s", redact(place))


def thinned_bytes(place: str) -> int:
    """Return the bytes that a checkpoint would be thinner by.

    0 where it is thin already.
    """
    parts = filter(_is_dropped, load(place).manifest.components)
    return sum(info.nbytes for part in parts for _, info in part.tensors.infos())


def _is_dropped(part: Component) -> bool:
    return part.kind in _DROPPED or part.label in _DROPPED_LABELS
