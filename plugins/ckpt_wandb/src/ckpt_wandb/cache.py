"""Files of earlier downloads, by the hash of their bytes.

They are in a folder that all runs on this machine share.

Nothing in it is trusted: what is taken is hashed as it is copied, and removed where it is not what its name says. A
file is put there as a second name of the one that was downloaded, so that it takes no room beside that.
"""

import os
import shutil
from base64 import b64decode
from collections.abc import Iterator
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

    def keep(self, entry: Entry, path: Path) -> None:
        """Put a file there that was found right.

        What was used longest ago makes room. It may fail: it is a cache.
        """
        size = path.stat().st_size
        if size > self._limit:
            return
        held = self._place(entry)
        with suppress(OSError):
            held.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            _second_name(path, held)
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


def _second_name(path: Path, held: Path) -> None:
    """Name a file a second time.

    Copy it where it is on another disk.
    """
    part = held.with_name(f"{os.getpid()}.part")
    try:
        os.link(path, part)
    except OSError:
        shutil.copyfile(path, part)
    os.replace(part, held)
