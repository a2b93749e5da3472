"""The source of an entry's bytes.

Here is also told whether a file on disk has them already.
"""

from pathlib import Path

from ckpt_core import Files, ReplacedError, list_files, printable
from ckpt_wandb.artifacts import Entry, PinnedArtifact
from ckpt_wandb.digests import Digest, slabs
from ckpt_wandb.filesystem import followed


class Source:
    """The source of an entry's bytes.

    Raises:
        UnsafeContentError: It is a reference to where none is followed.
        ReplacedError: It is a reference, and another content is there than was logged.
    """

    def __init__(self, artifact: PinnedArtifact, entry: Entry) -> None:
        self.place = f"{artifact.ref}/{entry.path}"
        self.shown = f"{artifact.ref}/{printable(entry.path)}"
        self.entry = entry
        self._files: Files = list_files(self.place if entry.reference is None else followed(self.shown, entry))
        (self._name,) = self._files.entries
        self.size = self._files.size(self._name)
        if entry.is_marked and entry.digest.strip('"') not in self._files.version(self._name):
            raise ReplacedError(f"{self.shown}: what it refers to was replaced since it was logged; log it again")

    def read_into(self, offset: int, out: memoryview) -> None:
        self._files.read_into(self._name, offset, out)

    @property
    def unverifiable(self) -> str:
        """Why no hash of its bytes is known; "" where one is."""
        if self.entry.reference is None:
            return ""
        if self.entry.is_marked:
            return "a reference: its store said the same of it as when it was logged, and its bytes have no hash"
        return "a reference that was logged without a checksum"


def matches(path: Path, entry: Entry, size: int | None) -> bool:
    """Return whether a file has the size and hash of its entry.

    The hash where one is known, as the manifest says.
    """
    if not path.is_file() or path.is_symlink() or (size is not None and path.stat().st_size != size):
        return False
    if not entry.is_checked:
        return size is not None
    digest = Digest(entry.algorithm)
    with path.open("rb") as file:
        for data in slabs(file):
            digest.see(data)
    return digest.text() == entry.digest
