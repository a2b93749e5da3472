"""Recognises directories of distributed checkpoints.

Names tell; a `.metadata` alone is told by its head.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ckpt_core import Confidence, Files, FormatMatch, LocationKind

METADATA = ".metadata"
SUFFIX = ".distcp"

_RANK_METADATA = re.compile(r"__(\d+)\.metadata")
_UNFINISHED = re.compile(r"(?:__\d+)?\.metadata\.tmp")
_STEP = re.compile(
    r"(?:(?:checkpoint|ckpt|epoch|global_?step|iter|iteration|step)s?[-_=.]?)?0*(\d{1,18})", re.IGNORECASE
)
_MENTIONED = (b"torch.distributed.checkpoint", b"torch.distributed._shard.checkpoint")


@dataclass(slots=True)
class DirectoryContent:
    """The content of one directory.

    Attributes:
        metadata: `.metadata`, or else every `__N.metadata` in the order of the ranks.
        others: `__N.metadata` beside a `.metadata`, which torch does not read then.
        unfinished: `.metadata.tmp` and the like: a save that did not end.
        shards: The `.distcp` files.
    """

    metadata: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory with files of DCP.

    The listed directory itself, and each below it.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for root, content in sorted(survey(files).items()):
        if content.shards or any(_mentions_torch(files, path) for path in content.metadata):
            sure = Confidence.CERTAIN if content.shards and content.metadata else Confidence.LIKELY
            yield FormatMatch("dcp", sure, _evidence(content), root, step_of(root or files.location.name))


def survey(files: Files) -> dict[str, DirectoryContent]:
    """Return the content of each directory with DCP's names."""
    directories: dict[str, DirectoryContent] = {}
    for path in files.entries:
        root, _, name = path.rpartition("/")
        if name.endswith(SUFFIX):
            directories.setdefault(root, DirectoryContent()).shards.append(path)
        elif name == METADATA or _RANK_METADATA.fullmatch(name):
            directories.setdefault(root, DirectoryContent()).metadata.append(path)
        elif _UNFINISHED.fullmatch(name):
            directories.setdefault(root, DirectoryContent()).unfinished.append(path)
    for content in directories.values():
        _choose(content)
    return directories


def rank_of(path: str) -> int | None:
    """Return the rank of a `__N.metadata`.

    None for any other name.
    """
    known = _RANK_METADATA.fullmatch(path.rpartition("/")[2])
    return int(known[1]) if known else None


def step_of(path: str) -> int | None:
    """Return the training step in the nearest folder's name.

    Examples are `step-100`, `checkpoint_100`, `iter_100` and `0000100`.
    """
    for name in reversed(path.split("/")):
        known = _STEP.fullmatch(name)
        if known:
            return int(known[1])
    return None


def _choose(content: DirectoryContent) -> None:
    whole = [path for path in content.metadata if rank_of(path) is None]
    ranks = sorted(
        (path for path in content.metadata if rank_of(path) is not None), key=lambda path: rank_of(path) or 0
    )
    content.metadata, content.others = (whole, ranks) if whole else (ranks, [])


def _evidence(content: DirectoryContent) -> str:
    shards = f"{len(content.shards)} .distcp files"
    if not content.metadata:
        return f"{shards} without .metadata"
    name = METADATA if rank_of(content.metadata[0]) is None else f"{len(content.metadata)} __N.metadata"
    return f"{name} beside {shards}" if content.shards else f"{name} that names torch's classes, no .distcp file"


def _mentions_torch(files: Files, path: str) -> bool:
    head = files.head(path)
    return any(text in head for text in _MENTIONED)
