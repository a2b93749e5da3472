"""What a stopped conversion had finished: a line for each tensor whose bytes are on disk, with what was seen of it.

The first line is the digest of the plan and source it belongs to: with another one there is nothing to go on from.
"""

import json
import logging
import os
from threading import Lock

from ckpt_core.errors import CkptError
from ckpt_core.schema.plans import TensorKey, Written
from ckpt_core.storage import syscalls

_log = logging.getLogger(__name__)

_SYNC_AFTER = 256 << 20
"""Bytes written between two syncs: what a kill can make a rerun read again, besides tensors that were under way."""


class Journal:
    """The journal of one stage. Lines go to disk only after the bytes they speak of.

    Args:
        path: Its file, as `begin` made it.
        data: Descriptors of the files that are being written, by path.

    Attributes:
        finished: What earlier runs had finished.
    """

    def __init__(self, path: str, data: dict[str, int]) -> None:
        self.finished, self._end = _read(path)
        self._path = path
        self._descriptor = syscalls.reopen(path)
        syscalls.truncate(self._descriptor, self._end, path)
        self._data = data
        self._pending: list[str] = []
        self._bytes = 0
        self._lock = Lock()
        self._failed = False

    def add(self, key: TensorKey, written: Written, length: int) -> None:
        """A tensor of `length` bytes is written; any thread may call this."""
        with self._lock:
            self._pending.append(json.dumps([*key, written.source, written.target, written.crc]) + "\n")
            self._bytes += length
            if self._bytes >= _SYNC_AFTER:
                self._flush()

    def finish(self) -> None:
        """Everything is written: put what is pending on disk."""
        self._flush()

    def close(self) -> None:
        """Put what is pending on disk, where that can still be done: the work has stopped for another reason."""
        try:
            self._flush()
        except CkptError as error:
            _log.warning("%s: not all that is finished could be noted (%s)", self._path, error)
        finally:
            os.close(self._descriptor)

    def _flush(self) -> None:
        # After a sync that failed, another one may succeed although bytes are lost: nothing more is noted then.
        if self._failed or not self._pending:
            return
        lines = "".join(self._pending).encode()
        self._failed = True
        for path, descriptor in self._data.items():
            syscalls.sync(descriptor, path)
        syscalls.write_at(self._descriptor, lines, self._end, self._path)
        syscalls.sync(self._descriptor, self._path)
        self._failed = False
        self._end += len(lines)
        self._pending, self._bytes = [], 0


def begin(path: str, digest: str) -> None:
    """A new journal for the work of this digest."""
    syscalls.write_file(path, f"{digest}\n".encode())


def belongs(path: str, digest: str) -> bool:
    """Whether a journal is there, and is that of the work of this digest."""
    try:
        with open(path, "rb") as file:
            return file.readline() == f"{digest}\n".encode()
    except FileNotFoundError:
        return False


def _read(path: str) -> tuple[dict[TensorKey, Written], int]:
    """The finished tensors, and where their lines end: a line that a stop tore counts no more, nor what follows it."""
    finished: dict[TensorKey, Written] = {}
    with open(path, "rb") as file:
        end = len(file.readline())
        for line in file:
            try:
                component, name, source, target, crc = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            finished[component, name] = Written(source, target, crc)
            end += len(line)
    return finished, end
