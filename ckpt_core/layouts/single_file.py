"""Picks the files that a one-file format should look at.

That is the file that was named, or some of a directory. Below a directory's top only those count that are named as
trainers name the checkpoints of a run: any other file there is more likely a piece of something. Whoever weighs the
claims drops those inside of what another format claims.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError
from ckpt_core.schema.locations import LocationKind

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files


_OF_RUN = ("best", "last", "latest", "final", "checkpoint", "ckpt")
"""Names without a number that trainers give to a checkpoint."""


def candidates(files: "Files", suffixes: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    """Yield each file that a one-file format may claim.

    Each comes as the root for a match, the path and the head. A file that was named is looked at whatever its name; in
    a directory, those at its top with a usual suffix, and further down those whose names say a step, or which of a run
    they are.
    """
    if files.location.kind is LocationKind.FILE:
        for path in files.entries:
            yield "", path, files.head(path)
        return
    for path in files.entries:
        if not path.lower().endswith(suffixes) or ("/" in path and not _is_of_run(path)):
            continue
        try:
            yield path, path, files.head(path)
        except CkptError:
            continue


def _is_of_run(path: str) -> bool:
    """Return True if a run's checkpoint may have this name.

    Trainers give such names as `step_9.pt` and `best.pth`.
    """
    from ckpt_core.layouts.step_names import numbered_part

    folder, _, name = path.rpartition("/")
    stem = name.partition(".")[0].lower()
    numbered = numbered_part(path)
    return stem in _OF_RUN or (numbered is not None and numbered[0] == folder.count("/") + 1)


def only_path(files: "Files") -> str:
    """Return the path in a listing of a single file."""
    return next(iter(files.entries))
