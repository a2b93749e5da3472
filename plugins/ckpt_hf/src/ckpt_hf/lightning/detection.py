"""Recognises Lightning's files by their first bytes.

The name alone never tells.
"""

import re
from collections.abc import Iterator

from ckpt_core import CkptError, Confidence, Files, FormatMatch, LocationKind, printable
from ckpt_core.codecs import sniff_torch
from ckpt_core.layouts import step_of_name

NAME = "lightning"

VERSION = "pytorch-lightning_version"
"""The key that every version of Lightning writes, before the weights."""

_GIVEN = re.compile(r"(?:.*epoch=\d+.*|last(?:-v\d+)?|hpc_ckpt_\d+)\.ckpt")
"""Names that ModelCheckpoint and the SLURM handler give."""

_DIFFUSION = "model.diffusion_model."
"""Start of the names in the files of Stable Diffusion 1 and 2, which keep Lightning's keys and are weights."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each file of Lightning's.

    The place is a single file, or a directory with such `*.ckpt` files.
    """
    for path in files.entries:
        alone = files.location.kind is LocationKind.FILE
        if alone or path.endswith(".ckpt"):
            claimed = _claim(path, _head(files, path))
            if claimed is not None:
                yield FormatMatch(NAME, *claimed, "" if alone else path, step_of_name(path))


def _head(files: Files, path: str) -> bytes:
    """Return the first bytes of a file.

    None where they cannot be had, which is said when it is opened.
    """
    try:
        return files.head(path)
    except CkptError:
        return b""


def _claim(path: str, head: bytes) -> tuple[Confidence, str] | None:
    if sniff_torch(head) is None:
        return None
    from ckpt_core.codecs import sniff_pickle

    seen = sniff_pickle(head)
    strings = seen.strings if seen is not None else ()
    if VERSION in strings:
        if any(text.startswith(_DIFFUSION) for text in strings):
            return None
        return Confidence.CERTAIN, f"{VERSION} among its first keys"
    name = path.rpartition("/")[2]
    if not strings and _GIVEN.fullmatch(name):
        return Confidence.LIKELY, f"{printable(name)}: a name that Lightning gives, and a head that does not tell"
    return None
