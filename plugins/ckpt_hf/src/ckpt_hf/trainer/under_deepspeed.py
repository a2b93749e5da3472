"""Adds the parts that the Trainer writes under DeepSpeed.

They are a tag directory, and the pointer by which a resume finds it.

Source: transformers `integrations/deepspeed.py` (deepspeed_load_checkpoint), which lets DeepSpeed look for the tag that
`latest` names, and fails where there is none.
"""

import re
from collections.abc import Collection, Sequence

from ckpt_core import Files, Part, Presence, Profile, printable
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.names import group

_POINTER = "latest"
_TAG = re.compile(r"global_step(\d+)")
_LONGEST_NAME = 80
"""Characters of what a pointer names that are shown."""

_REFUSED = "the Trainer asks DeepSpeed for the tag that it names, and fails without it"


def part_of(files: Files, root: str, folders: Collection[str]) -> Part | None:
    """Return the tag that the Trainer would resume from.

    It is the one that is pointed to, else the newest; None without a tag.
    """
    tags = {name: int(match[1]) for name in folders if (match := _TAG.fullmatch(name))}
    if not tags:
        return None
    named = _named(files, root)
    return Part(named if named in tags else max(tags, key=tags.__getitem__), "optimizer", "deepspeed")


def is_used(files: Files, parts: Sequence[Part]) -> bool:
    """Return True if DeepSpeed saved here.

    Its tag may be lost.
    """
    return has_tag(parts) or _POINTER in files.entries


def has_tag(parts: Sequence[Part]) -> bool:
    return any(part.format == "deepspeed" for part in parts)


def holds_all_weights(files: Files, parts: Sequence[Part]) -> bool:
    """Return True if all weights are in the tag.

    In stage 3 they are, unless it is told to gather them.
    """
    return has_tag(parts) and not group({path for path in files.entries if "/" not in path})


def add(builder: CheckpointBuilder, parts: Sequence[Part]) -> None:
    """Add the pointer, and a lost tag's optimizer as absent."""
    there = _POINTER in builder.files.entries
    presence, note = (Presence.PRESENT, "") if there else (Presence.ABSENT, _REFUSED)
    builder.role("progress", presence, _POINTER, note, name="latest", needed_for=Profile.RESUME)
    if not has_tag(parts):
        where = printable(_named(builder.files, ""), _LONGEST_NAME) or _POINTER
        builder.role("optimizer", Presence.ABSENT, where, "the directory of DeepSpeed is not here")


def _named(files: Files, root: str) -> str:
    path = f"{root}/{_POINTER}".lstrip("/")
    return files.head(path).decode("utf-8", "replace").strip() if path in files.entries else ""
