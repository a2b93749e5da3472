"""The folders of a listing, each with the names directly in it: what detection by names looks at."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ckpt_core import Files, LocationKind


@dataclass(slots=True)
class Folder:
    """A folder: its path relative to the root, its own name, the names of files and of folders in it.

    `closed` are names that are there too, and were left out of the listing: broken links, pipes, what may not be read.
    """

    root: str
    name: str
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)


def folders(files: Files) -> Iterator[Folder]:
    """Every folder that holds a file at any depth, the root first, then by path. Nothing for the listing of a file."""
    if files.location.kind is LocationKind.FILE:
        return
    found = {"": Folder("", files.location.name)}
    for path in files.entries:
        root, _, name = path.rpartition("/")
        _folder(found, root).files.add(name)
    for path in files.skipped:
        root, _, name = path.rpartition("/")
        if root in found:
            found[root].closed.add(name)
    yield from (found[root] for root in sorted(found))


def _folder(found: dict[str, Folder], root: str) -> Folder:
    if root not in found:
        above, _, name = root.rpartition("/")
        found[root] = Folder(root, name)
        _folder(found, above).folders.add(name)
    return found[root]
