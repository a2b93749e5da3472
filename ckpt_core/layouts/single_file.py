"""Which files of a listing a one-file format should look at: the file that was named, or those of a directory.

Below a directory's top that is only what is named as trainers name the checkpoints of a run: any other file there is
more likely a piece of something. Whoever weighs the claims drops those inside of what another format claims.
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
    """Root for a match, path and head of each file that a one-file format may claim.

    A file that was named is looked at whatever its name; in a directory, those at its top with a usual suffix, and
    further down those whose names say a step, or which of a run they are.
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
    """Whether the name of a file is one that trainers give to the checkpoints of a run: `step_9.pt`, `best.pth`."""
    from ckpt_core.layouts.step_names import numbered_part

    folder, _, name = path.rpartition("/")
    stem = name.partition(".")[0].lower()
    found = numbered_part(path)
    return stem in _OF_RUN or (found is not None and found[0] == folder.count("/") + 1)


def only_path(files: "Files") -> str:
    """The one file of a listing of a file."""
    return next(iter(files.entries))
