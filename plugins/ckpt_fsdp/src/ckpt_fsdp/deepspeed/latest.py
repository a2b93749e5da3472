"""Checks that DeepSpeed would find a tag by its pointer.

The pointer beside the tag must exist, and name it.

transformers' Trainer goes by the same pointer to the tag in its `checkpoint-N`; Accelerate names its tags itself.
Source: DeepSpeed `runtime/engine.py` (load_checkpoint); transformers `integrations/deepspeed.py`; accelerate
`accelerator.py` (load_state).
"""

import re
from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, Presence, Profile, Role, Severity, printable
from ckpt_fsdp.deepspeed.detection import FORMAT, lost
from ckpt_fsdp.deepspeed.names import pointed

_ACCELERATES = re.compile(r"pytorch_model(?:_\d+)?")
"""Tags that `load_state` gives to DeepSpeed by name, whatever the pointer says."""


def check_pointers(files: Files, tag: str) -> Iterator[Finding]:
    """Yield ZE001 and ZE002 for a tag's pointer.

    It is missing, or names another tag. A tag that is listed itself has none.

    Args:
        files: The listing.
        tag: The tag directory, by its path in the listing.
    """
    if not tag:
        return
    root, _, folder = tag.rpartition("/")
    said = pointed(files, root)
    for pointer, name in said.items():
        if name != folder:
            path = f"{root}/{pointer}".lstrip("/")
            yield Finding("ZE002", Severity.ERROR, lost(path, name, [folder]), path)
    if not said:
        path = f"{root}/latest".lstrip("/")
        message = (
            f"{printable(path)}: missing, so that DeepSpeed would load nothing; it should name {printable(folder)}"
        )
        hint = "write the name into it, or give the tag to load_checkpoint"
        yield Finding("ZE001", Severity.WARNING, message, path, hint=hint)


def lost_pointer(files: Files, tag: str, *, universal: bool) -> Iterator[Role]:
    """Yield `progress:latest` for a root without pointer.

    DeepSpeed then loads nothing, and the program begins again.

    Args:
        files: The listing.
        tag: The tag directory, by its path in the listing; "" for the listing itself, which needs no pointer.
        universal: Whether it is a universal checkpoint, which has a pointer of its own.
    """
    root, _, folder = tag.rpartition("/")
    if not tag or _ACCELERATES.fullmatch(folder) or pointed(files, root):
        return
    path = f"{root}/{'latest_universal' if universal else 'latest'}".lstrip("/")
    if path in files.entries or path in files.skipped:
        presence, note = Presence.UNREADABLE, files.skipped.get(path, "")
    else:
        presence, note = Presence.ABSENT, "DeepSpeed loads the tag that it names, and nothing without it"
    yield Role("progress", presence, path, note, "latest", Profile.RESUME)


def check_parts(files: Files, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Yield ZE001 and ZE002 for tags that are parts.

    Parts of another format's checkpoint.
    """
    for part in checkpoint.match.parts:
        if part.format == FORMAT:
            yield from check_pointers(files, part.root)
