"""Tells the committed files of a folder without renaming.

It is on a mount, or in a store on this machine.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ckpt_core.errors import CorruptError
from ckpt_core.schema.side_files.reserved_names import FILE_SUFFIX, STAGE
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.committed import NOT_FINISHED, committed, refuse_unfinished


@dataclass(frozen=True, slots=True)
class CommittedBelow:
    """Return the files of a listing that count.

    Attributes:
        names: Of each path that counts, where its file is below the root.
        generations: See `Committed`.
        left: What is left out, each with the reason.
    """

    names: Mapping[str, str]
    generations: Mapping[str, str]
    left: Mapping[str, str]


def committed_below(root: str, paths: Iterable[str], unfinished: bool) -> CommittedBelow:
    """Return the files below a folder that count.

    CorruptError (WR001, WR002) where it is not finished, or broken.
    """

    def read(path: str) -> bytes | None:
        try:
            with open(os.path.join(root, path), "rb") as file:
                return file.read()
        except OSError:
            return None

    found = committed({path: path for path in paths}, read)
    if not unfinished:
        refuse_unfinished(root, found)
    left = {
        path: NOT_FINISHED
        for path in found.names
        for folder in found.unfinished
        if folder and path.startswith(f"{folder}/")
    }
    names = {path: full for path, full in sorted(found.names.items()) if path not in left}
    return CommittedBelow(names, found.generations, left)


def refuse_unfinished_file(path: str) -> None:
    """Refuse a file that is being written under its name.

    CorruptError (WR001): it has a lease, where nothing is renamed.
    """
    folder, name = os.path.split(path)
    if os.path.lexists(path + FILE_SUFFIX):
        return
    if any(one.startswith(f".{name}{STAGE}") for one in os.listdir(folder or ".")):
        raise CorruptError(
            f"{printable(path)}: {NOT_FINISHED}; it is no checkpoint yet: run the same command again, which goes on, "
            "or remove it with ckpt clean",
            code="WR001",
        )
