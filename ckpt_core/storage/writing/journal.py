"""The journal of a conversion.

A line for each tensor whose bytes are on disk, with what was seen of it.

The first line is the digest of the plan and source it belongs to: with another one there is nothing to go on from.
Each rank keeps a journal of its own, `journal`, `journal-1`, …; a rerun with other ranks goes on from all of them.
"""

import json
import os
from threading import Lock

from ckpt_core.errors import CkptError
from ckpt_core.log import Logger
from ckpt_core.schema.plans import TensorKey, Written
from ckpt_core.storage.writing import syscalls

_log = Logger(__name__)

_SYNC_AFTER = 256 << 20
"""Bytes written between two syncs: what a kill can make a rerun read again, besides tensors that were under way."""


class Journal:
    """The journal of one stage.

    Lines go to disk only after the bytes they speak of.

    Args:
        path: The file of rank 0, as `begin` made it.
        data: Descriptors of the files that are being written, by path.
        rank: Whose journal it is.
    """

    def __init__(self, path: str, data: dict[str, int], rank: int = 0) -> None:
        if rank:
            path = _begin_beside(path, rank)
        _, self._end = _read(path)
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
            self._pending.append(json.dumps([*key, *written.plain()]) + "\n")
            self._bytes += length
            if self._bytes >= _SYNC_AFTER:
                self._flush()

    def finish(self) -> None:
        """Everything is written: put what is pending on disk."""
        self._flush()

    def close(self) -> None:
        """Put what is pending on disk, where that can still be done.

        The work has stopped for another reason.
        """
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


def forget(path: str) -> None:
    """Remove the journals of all ranks. `path` is that of rank 0.

    Where it is, work can go on.
    """
    for own in _all(path):
        syscalls.remove(own)


def belongs(path: str, digest: str) -> bool:
    """Return whether a journal is there and of this work.

    The work is told by its digest.
    """
    try:
        with open(path, "rb") as file:
            return file.readline() == f"{digest}\n".encode()
    except FileNotFoundError:
        return False


def finished_by_all(path: str) -> dict[TensorKey, Written]:
    """Return what earlier runs had finished, whatever their ranks.

    `path` is the journal of rank 0.
    """
    digest = _digest(path)
    found: dict[TensorKey, Written] = {}
    for own in _all(path):
        if belongs(own, digest):
            found.update(_read(own)[0])
    return found


def _begin_beside(path: str, rank: int) -> str:
    """Return the journal of another rank, beside that of rank 0.

    A new one where there is none of the same work.
    """
    own = f"{path}-{rank}"
    digest = _digest(path)
    if not belongs(own, digest):
        syscalls.remove(own)
        begin(own, digest)
    return own


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return file.readline().decode().strip()


def _all(path: str) -> list[str]:
    """The journals of all ranks that are there."""
    folder, name = os.path.split(path)
    return [
        os.path.join(folder, found)
        for found in syscalls.list_names(folder)
        if found == name or (found.startswith(f"{name}-") and found.removeprefix(f"{name}-").isdecimal())
    ]


def _read(path: str) -> tuple[dict[TensorKey, Written], int]:
    """Return the finished tensors, and where their lines end.

    A line that a stop tore counts no more, nor what follows it.
    """
    finished: dict[TensorKey, Written] = {}
    with open(path, "rb") as file:
        end = len(file.readline())
        for line in file:
            try:
                component, name, *seen = json.loads(line)
                written = Written.of(seen)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            finished[component, name] = written
            end += len(line)
    return finished, end
