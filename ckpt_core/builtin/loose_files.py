"""Which files of a listing a one-file format should look at: the file that was named, or those at a directory's top."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError
from ckpt_core.schema.locations import Kind

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files


def candidates(files: "Files", suffixes: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    """Root for a match, path and head of each file that a one-file format may claim.

    A file that was named is looked at whatever its name; in a directory, those at its top with a usual suffix.
    """
    if files.location.kind is Kind.FILE:
        for path in files.entries:
            yield "", path, files.head(path)
        return
    for path in files.entries:
        if "/" in path or not path.lower().endswith(suffixes):
            continue
        try:
            yield path, path, files.head(path)
        except CkptError:
            continue


def only_path(files: "Files") -> str:
    """The one file of a listing of a file."""
    return next(iter(files.entries))
