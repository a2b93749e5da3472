"""What a stopped conversion had finished: a line for each tensor whose bytes are on disk, with what was seen of it."""

import json
import os
from threading import Lock

from ckpt_core.schema.plans import TensorKey, Written
from ckpt_core.storage import syscalls

_SYNC_AFTER = 256 << 20
"""Bytes written between two syncs: what a stop can make a rerun read again, besides tensors that were under way."""


class Journal:
    """The journal of one stage. Lines go to disk only after the bytes they speak of.

    Args:
        path: Its file.
        data: Descriptors of the files that are being written, by path.
    """

    def __init__(self, path: str, data: dict[str, int]) -> None:
        self.finished = _read(path)
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._data = data
        self._pending: list[str] = []
        self._bytes = 0
        self._lock = Lock()

    def add(self, key: TensorKey, written: Written, length: int) -> None:
        """A tensor of `length` bytes is written; any thread may call this."""
        with self._lock:
            self._pending.append(json.dumps([*key, written.source, written.target, written.crc]) + "\n")
            self._bytes += length
            if self._bytes >= _SYNC_AFTER:
                self._flush()

    def close(self) -> None:
        os.close(self._descriptor)

    def _flush(self) -> None:
        for path, descriptor in self._data.items():
            syscalls.sync(descriptor, path)
        syscalls.append(self._descriptor, "".join(self._pending).encode(), self._path)
        self._pending, self._bytes = [], 0


def _read(path: str) -> dict[TensorKey, Written]:
    """The finished tensors; a last line that was torn by a stop is left out."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return {}
    finished = {}
    for line in lines:
        if not line.endswith("\n"):
            break
        component, name, source, target, crc = json.loads(line)
        finished[component, name] = Written(source, target, crc)
    return finished
