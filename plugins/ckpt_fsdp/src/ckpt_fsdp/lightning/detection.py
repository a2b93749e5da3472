"""Recognises Lightning's directories of DCP.

They have `meta.pt`, or a name that Lightning gives.
"""

import re
from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.dcp.detection import survey

META = "meta.pt"
"""What is not a tensor of model or optimizer; rank 0 writes it last."""

_GIVEN = re.compile(r"(?:epoch=\d+-step=\d+|last|hpc_ckpt_\d+)(?:-v\d+)?\.ckpt")
"""Names that ModelCheckpoint and the SLURM handler give; Lightning takes a directory of any name."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory of Lightning's.

    It has files of DCP and `meta.pt`, or the former and one of Lightning's names.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for root, content in sorted(survey(files).items()):
        name = (root or files.location.name).rpartition("/")[2]
        has_meta = f"{root}/{META}".lstrip("/") in files.entries
        if not (has_meta or _GIVEN.fullmatch(name)):
            continue
        confidence = Confidence.CERTAIN if has_meta and content.metadata else Confidence.LIKELY
        beside = META if has_meta else f"no {META}, in a directory of Lightning's name"
        evidence = f"{beside} beside {len(content.shards)} .distcp files"
        yield FormatMatch("lightning-fsdp", confidence, evidence, root, step_of_name(name))
