"""One file of an artifact as it comes.

It is written and hashed in order, and named when it is right.

What is written is whole up to where it ends, so that an interrupted file is gone on with.
"""

import os
from pathlib import Path

from ckpt_core import CorruptError
from ckpt_wandb.choosing import UNFINISHED
from ckpt_wandb.digests import Digest, slabs
from ckpt_wandb.parallel.ordered_file import SECTOR, OrderedFile
from ckpt_wandb.sources import Source

PART = 4 << 20
"""Bytes that are read at once: a question and the handing on cost little beside them."""


class Incoming:
    """A file that is not there yet.

    Args:
        source: Where it comes from.
        path: Where it will be; the folder is made.

    Attributes:
        kept: Bytes that an interrupted run had written.
    """

    def __init__(self, source: Source, path: Path) -> None:
        self.source, self._path = source, path
        self._unfinished = path.with_name(f"{path.name}{UNFINISHED}")
        self.kept = _usable(self._unfinished, source.size)
        self._digest = Digest(source.entry.algorithm if source.entry.is_checked else "md5")
        self._kept_unhashed = self.kept > 0
        self._file: OrderedFile | None = None

    @property
    def starts(self) -> range:
        """Return the start of each part.

        Of a file that is there but for its name, there is one, with nothing in it.
        """
        return range(self.kept, max(self.source.size, self.kept + 1), PART)

    def write(self, data: memoryview) -> None:
        """Write the next bytes."""
        self._opened().write(data)

    def hash(self, data: memoryview) -> None:
        """Hash the next bytes, behind those that an interrupted run had written."""
        if not self.source.entry.is_checked:
            return
        if self._kept_unhashed:
            self._kept_unhashed = False
            self._hash_kept()
        self._digest.see(data)

    def name(self) -> bool:
        """Sync a finished file and name it; return whether it is right.

        Where it is not, it is gone.
        """
        file = self._opened()
        if not self.source.entry.is_checked or self._digest.text() == self.source.entry.digest:
            file.sync()
            file.close()
            os.rename(self._unfinished, self._path)
            return True
        file.close()
        self._unfinished.unlink()
        return False

    def wrong(self) -> CorruptError:
        """Return the error for bytes that differ from the manifest.

        Whenever they are asked for.
        """
        entry = self.source.entry
        return CorruptError(
            f"{self.source.shown}: what W&B holds is not what was logged (its {entry.algorithm} is "
            f"{self._digest.text()}, the manifest says {entry.digest}); take another version, or log it again",
            code="WB001",
            path=entry.path,
        )

    def close(self) -> None:
        """Leave the file as it is, to be gone on with."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> OrderedFile:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = OrderedFile(self._unfinished, self.kept)
        return self._file

    def _hash_kept(self) -> None:
        with self._unfinished.open("rb") as file:
            for data in slabs(file, self.kept):
                self._digest.see(data)


def _usable(part: Path, size: int) -> int:
    """Return how many bytes of an interrupted file are usable.

    Whole sectors are; of a file that is too long none are.
    """
    have = part.stat().st_size if part.exists() else 0
    if have == size:
        return have
    return have // SECTOR * SECTOR if have < size else 0
