"""The folders of a listing, each with its names.

Detection by names looks at them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ckpt_core import Files, LocationKind


@dataclass(slots=True)
class Folder:
    """A folder: its path, its name, its files and folders.

    The path is relative to the root; `files` and `folders` are names directly in it. `closed` are names that are there
    too, and were left out of the listing: broken links, pipes, what may not be read.
    """

    root: str
    name: str
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)


def folders(files: Files) -> Iterator[Folder]:
    """Yield every folder that holds a file, sorted by path.

    The file may lie at any depth; the root comes first. The listing of a file has no folders.
    """
    if files.location.kind is LocationKind.FILE:
        return
    by_root = {"": Folder("", files.location.name)}
    for path in files.entries:
        root, _, name = path.rpartition("/")
        _folder(by_root, root).files.add(name)
    for path in files.skipped:
        root, _, name = path.rpartition("/")
        if root in by_root:
            by_root[root].closed.add(name)
    yield from (by_root[root] for root in sorted(by_root))


def _folder(folders: dict[str, Folder], root: str) -> Folder:
    if root not in folders:
        above, _, name = root.rpartition("/")
        folders[root] = Folder(root, name)
        _folder(folders, above).folders.add(name)
    return folders[root]
