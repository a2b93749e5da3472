"""Opens the files of one part of a save.

What cannot be read is a finding, and hides no other.
"""

from functools import partial

from ckpt_core.layouts import CheckpointBuilder
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks.joining import RankPart


def read_parts(builder: CheckpointBuilder, rank_set: RankSet, kind: str, name: str = "") -> list[RankPart]:
    """Return the readable files of a part.

    What is wrong with the others is among the findings and roles.

    Args:
        builder: What the directory has so far.
        rank_set: The files.
        kind: Kind of what is unreadable where a file is.
        name: Its name, with `{}` for the rank where each has its own.
    """
    parts = []
    for rank, path in rank_set.paths.items():
        file = builder.tried(kind, path, partial(builder.torch, path), name=name.format(rank))
        if file is not None:
            parts.append(RankPart(rank, file))
    # What a file says of itself, that it has a part only, is what is wanted here.
    builder.findings = [finding for finding in builder.findings if finding.code != "TF009"]
    return parts
