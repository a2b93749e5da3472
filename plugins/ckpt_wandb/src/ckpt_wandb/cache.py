"""Files of earlier downloads, by the hash of their bytes.

They are in a folder that all runs on this machine share.

Nothing in it is trusted: what is taken is hashed as it is copied, and removed where it is not what its name says. A
download puts a file there as a second name, which takes no room beside it; of what `ckpt copy` brought it has a copy.
"""

import errno
import os
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ckpt_core import UsageError
from ckpt_wandb.artifacts import Entry
from ckpt_wandb.digests import Digest, slabs, write_all

LIMIT = 10 << 30
"""Bytes that the cache may hold where `CKPT_WANDB_CACHE_BYTES` says nothing."""


class Cache:
    """The cache in a folder, of at most so many bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    def take(self, entry: Entry, path: Path) -> bool:
        """Copy a file to a path, and hash it meanwhile.

        Returns False, and nothing is there, where the cache has it not.
        """
        held = self._place(entry)
        try:
            with held.open("rb") as file:
                right = _copied(file, path, entry)
            os.utime(held.parent)
        except FileNotFoundError:
            return False
        if not right:
            with suppress(OSError):
                held.unlink()
        return right

    def path_of(self, entry: Entry) -> str | None:
        """Return the path of a file, for whoever copies and hashes it.

        None where it is not there.
        """
        held = self._place(entry)
        try:
            os.utime(held.parent)
        except OSError:
            return None
        return str(held) if held.exists() else None

    def keep(self, entry: Entry, path: Path) -> None:
        """Put a file there that was found right.

        It gets a second name. What was used longest ago makes room. It may fail: it is a cache.
        """
        self._put(entry, path, _name_again)

    def keep_copy(self, entry: Entry, path: Path) -> None:
        """Put a copy there of a file that was found right.

        See `keep`; it is left where it would fill the disk.
        """
        self._put(entry, path, _copy_again)

    def _put(self, entry: Entry, path: Path, make: Callable[[Path, Path], None]) -> None:
        size = path.stat().st_size
        if size > self._limit:
            return
        held = self._place(entry)
        part = held.with_name(f"{os.getpid()}.part")
        with suppress(OSError):
            held.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            try:
                make(path, part)
                os.replace(part, held)
            finally:
                part.unlink(missing_ok=True)
            os.utime(held.parent)

    def nbytes(self) -> int:
        """Return the bytes in it."""
        return sum(size for _, size, _ in self._held())

    def _place(self, entry: Entry) -> Path:
        name = b64decode(entry.digest).hex()
        return self._folder / entry.algorithm / name[:2] / name / "data"

    def _make_room(self, size: int) -> None:
        held = sorted(self._held())
        over = sum(own for _, own, _ in held) + size - self._limit
        for _, own, path in held:
            if over <= 0:
                return
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()
                over -= own

    def _held(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was used last, its bytes, and where it is."""
        for path in self._folder.glob("*/*/*/data"):
            with suppress(FileNotFoundError):
                yield path.parent.stat().st_mtime, path.stat().st_size, path


def shared_cache() -> Cache | None:
    """The cache of this machine: in `WANDB_CACHE_DIR`; None where `CKPT_WANDB_CACHE_BYTES` is 0.

    Raises:
        UsageError: That is no number of bytes.
    """
    text = os.environ.get("CKPT_WANDB_CACHE_BYTES", "")
    if text and not text.isdecimal():
        raise UsageError(
            f"CKPT_WANDB_CACHE_BYTES={text!r}: not a number of bytes; unset it, or give one, or 0 for none"
        )
    limit = int(text) if text else LIMIT
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    root = os.environ.get("WANDB_CACHE_DIR") or os.path.join(home, "wandb")
    return Cache(Path(root).absolute() / "ckpt", limit) if limit else None


def _copied(file: BinaryIO, path: Path, entry: Entry) -> bool:
    """Copy a file; return whether its bytes have the hash.

    It is on disk when this ends; else nothing is there.
    """
    digest = Digest(entry.algorithm)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as copy:
        for data in slabs(file):
            digest.see(data)
            write_all(copy, data)
        right = digest.text() == entry.digest
        if right:
            os.fsync(copy.fileno())
    if not right:
        path.unlink()
    return right


def _name_again(path: Path, part: Path) -> None:
    """Name a file a second time.

    On another disk it is copied.
    """
    try:
        os.link(path, part)
    except OSError:
        _copy_again(path, part)


def _copy_again(path: Path, part: Path) -> None:
    """Copy a file.

    OSError where that takes more than half of the room that the disk has left.
    """
    if 2 * path.stat().st_size > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, "too little room for a cache")
    shutil.copyfile(path, part)
