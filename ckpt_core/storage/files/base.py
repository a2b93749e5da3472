"""The common part of all listings.

It has the files that there are, their sizes, and their first bytes kept.
"""

from collections.abc import Mapping

from ckpt_core.schema.access import HEAD_BYTES, FileEntry, Files
from ckpt_core.schema.locations import Location
from ckpt_core.storage.files.range_checks import not_listed


class ListedFiles(Files):
    """A listing whose files were found when it was taken.

    Args:
        location: Its place.
        entries: The listed files.
        skipped: What was left out.
        debris: What is no part of a checkpoint.
    """

    def __init__(
        self,
        location: Location,
        entries: Mapping[str, FileEntry],
        skipped: Mapping[str, str] | None = None,
        debris: Mapping[str, str] | None = None,
    ) -> None:
        self.location = location
        self._entries = entries
        self._skipped = skipped or {}
        self._debris = debris or {}
        self._heads: dict[str, bytes] = {}

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return self._skipped

    @property
    def debris(self) -> Mapping[str, str]:
        return self._debris

    def size(self, path: str) -> int:
        if path not in self._entries:
            raise not_listed(path, self._skipped)
        return self._entries[path].size

    def head(self, path: str) -> bytes:
        if path not in self._heads:
            self._heads[path] = self.read(path, 0, min(self.size(path), HEAD_BYTES))
        return self._heads[path]


def below_folder(found: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return facts about paths, by the paths below a folder.

    The folder is given as `folder/`.
    """
    return {path[len(folder) :]: said for path, said in found.items() if path.startswith(folder)}
