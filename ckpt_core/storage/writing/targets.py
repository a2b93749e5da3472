"""The kinds of target, by the URL of a destination.

Each stages, and is committed whole or not at all.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.text import redact
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.urls import local_path, scheme_of
from ckpt_core.storage.writing.mounts.renames import can_rename_at
from ckpt_core.storage.writing.open_local import open_local_target
from ckpt_core.storage.writing.publishing.publisher import is_published, publisher_of
from ckpt_core.storage.writing.publishing.target import open_published_target
from ckpt_core.storage.writing.staged_target import StagedTarget


def open_target(
    ref: str,
    *,
    format: str,
    kind: LocationKind,
    options: Mapping[str, Any] | None = None,
    replace: bool = False,
    resume: bool = False,
    ranks: Ranks = ALONE,
) -> AbstractContextManager[StagedTarget]:
    """Return a staged destination, locked for the block.

    What was not committed by its end is removed.

    Args:
        ref: The destination.
        format: Name of the format.
        kind: Whether that format makes a file or a directory.
        options: The format's options.
        replace: Whether what is there now may be replaced; where it is published, each content is a version.
        resume: Keep a journal, so that the same work can go on after a stop.
        ranks: The processes that write it together, all of which call this; rank 0 holds the lock and the stage.

    Raises:
        OverwriteError: Something is there, and `replace` is not set.
        LockedError: Another process is writing there.
        UnsupportedFormatError: Nothing is written to URLs of this scheme, or a package for it is missing.
        UnreachableError: The place does not answer, or may not be written.
    """
    path = local_path(ref)
    publisher = None if path is not None else publisher_of(ref)
    if publisher is not None:
        return open_published_target(
            publisher, ref, format=format, kind=kind, options=options, resume=resume, ranks=ranks
        )
    if path is None or not can_rename_at(path):
        refuse_apart(ref, ranks.world)
        from ckpt_core.storage.writing.uploads.opening import open_object_target

        return open_object_target(
            ref, format=format, kind=kind, options=options, replace=replace, resume=resume, ranks=ranks
        )
    return open_local_target(
        path, format=format, kind=kind, options=options, replace=replace, resume=resume, ranks=ranks
    )


def refuse_apart(ref: str, world: int) -> None:
    """Refuse a place that several processes do not share.

    Raises:
        UnsupportedFormatError: Each would write to one of its own, or only one can publish there.
    """
    if world == 1 or local_path(ref) is not None:
        return
    if scheme_of(ref) == "memory":
        raise UnsupportedFormatError(
            f"{redact(ref)}: each process has a memory of its own; write to a local path, s3:// or gs://"
        )
    if is_published(ref):
        raise UnsupportedFormatError(
            f"{redact(ref)}: is published by one process; write to a folder that all ranks share, and ckpt copy it"
        )
