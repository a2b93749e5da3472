"""A file that is written from its start to its end.

It goes past the page cache where it is long and the disk can do that.

The pages of a cache that nobody reads soon cost more than the bytes do: 0.4 s a GiB where memory is at hand, and four
times that on a virtual machine whose host has taken it back.
"""

import errno
import os
from pathlib import Path

SECTOR = 4096
"""Bytes to which offsets, lengths and memory are aligned for a write past the page cache, on every disk known."""

_WORTH = 1 << 20
"""Bytes of a write that are worth a second descriptor."""

_REFUSED = (errno.EINVAL, errno.ENOTSUP)


class OrderedFile:
    """An open file, written from `position` on.

    Args:
        path: The file; it is made where it is not there.
        position: Where the first write begins; what is behind it is cut off.
    """

    def __init__(self, path: Path, position: int) -> None:
        self._path, self._position = path, position
        self._plain = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._direct: int | None = None
        self._may_be_direct = True
        os.ftruncate(self._plain, position)

    def write(self, data: memoryview) -> None:
        """Write all of the next bytes.

        Those that lie in whole sectors of memory and file go past the page cache.
        """
        whole = len(data) // SECTOR * SECTOR
        if whole >= _WORTH and self._position % SECTOR == 0 and self._may_be_direct:
            data = data[self._write_past_cache(data[:whole]) :]
        while len(data):
            count = os.pwrite(self._plain, data, self._position)
            self._position += count
            data = data[count:]

    def sync(self) -> None:
        """Put all of it on disk."""
        os.fsync(self._plain)

    def close(self) -> None:
        """Close it; once more is no error."""
        for descriptor in (self._plain, self._direct):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self._plain, self._direct = -1, None

    def _write_past_cache(self, data: memoryview) -> int:
        """Write what the disk takes so; return its bytes."""
        try:
            if self._direct is None:
                self._direct = os.open(self._path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
            count = os.pwrite(self._direct, data, self._position)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._may_be_direct = False
            return 0
        self._position += count
        return count
