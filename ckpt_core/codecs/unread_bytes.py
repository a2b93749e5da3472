"""Describes bytes that a format doesn't expect in a file.

They are named, so that nothing is passed over without a word.
"""

from ckpt_core.codecs.heads.torch import sniff_torch

LOOKED_AT = 4096
"""Bytes whose content is looked at."""


def what_is(head: bytes, size: int) -> str:
    """Return the size of unexpected bytes, and their kind.

    `head` are the first of them.
    """
    from ckpt_core.codecs.foreign.files import foreign

    if head and not head.strip(b"\0"):
        return f"{size} bytes, zeros at first"
    if sniff_torch(head) is not None:
        return f"{size} bytes, another file of torch.save"
    kind = foreign("", head)
    return f"{size} bytes" if kind is None else f"{size} bytes, {kind.what}"
