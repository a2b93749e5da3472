"""Reads the names of tensors in a file's first bytes.

They are those of a safetensors header, or of a torch file's pickle.
"""

import re

from ckpt_core.codecs import sniff_pickle
from ckpt_fsdp.ranks.heads import told

_KEY = re.compile(rb'"((?:[^"\\]|\\.)+)"\s*:\s*\{\s*"(?:dtype|shape|data_offsets)"')
_PLACES = re.compile(r"(?:storage|cpu|cuda(?::\d+)?|meta|\d+|torch\..*)")


def names_in(head: bytes) -> set[str] | None:
    """Return the names of tensors that a head shows.

    None where it is that of no such file, or of a rank's.
    """
    if head[8:9] == b"{":
        return {key.decode("utf-8", "replace") for key in _KEY.findall(head)}
    if told(head) is not None:
        return set()
    seen = sniff_pickle(head)
    return None if seen is None else {text for text in seen.strings if not _PLACES.fullmatch(text)}
