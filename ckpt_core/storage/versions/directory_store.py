"""A folder of this machine's disk as a store of objects.

An object is a file that gets its name once it is whole and synced. That a name is new holds among all machines whose
mounts make links; that one replaces what it has read, among those that share the locks of a file.
"""

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ckpt_core.errors import CheckpointNotFoundError, CkptError, ReplacedError
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.storage.objects.store import StoredObject
from ckpt_core.storage.versions.names import SIGN
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.mounts.mount_store import MountStore

PUT = f"{MARK}put-"
"""In the name of a file that is not whole yet: `.NAME.ckpt-put-ID`."""


class DirectoryStore(MountStore):
    """A folder whose filesystem renames files.

    Args:
        root: Its path.
    """

    def head(self, key: str) -> StoredObject | None:
        path = self._path(key)
        try:
            with open(path, "rb") as file:  # to open a file asks the server of a mount; to stat it may not
                found = os.fstat(file.fileno())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise syscalls.as_ckpt_error(error, path) from error
        return StoredObject(key, found.st_size, _version_of(found), found.st_mtime)

    def read(self, key: str, *, version: str | None = None) -> bytes:
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                if version is not None and version != _version_of(os.fstat(file.fileno())):
                    raise ReplacedError(f"{self._shown(key)}: was replaced while it was read; run it again")
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointNotFoundError(f"{self._shown(key)}: nothing there; check the name") from None
        except OSError as error:
            if isinstance(error, CkptError):
                raise
            raise syscalls.as_ckpt_error(error, path) from error

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            syscalls.remove(self._path(key))
            folder = os.path.dirname(self._path(key))
            if os.path.dirname(folder) != self.url and folder != self.url:
                self._remove_if_empty(folder)

    def names(self, folder: str) -> list[str]:
        """Return the keys directly in a folder, which ends in `/`."""
        path = self._path(folder)
        try:
            return [f"{folder}{name}" for name in os.listdir(path)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise syscalls.as_ckpt_error(error, path) from error

    def write_new(self, key: str, slabs: Iterable[bytes | memoryview]) -> None:
        """Write an object under a name that nobody else gives."""
        self._make_folders(key)
        self._write(key, slabs, renamed=True)

    def _write(self, key: str, slabs: Iterable[bytes | memoryview], *, renamed: bool, new: bool = False) -> bool:
        path = self._path(key)
        folder, name = os.path.split(path)
        aside = os.path.join(folder, f".{name}{PUT}{uuid.uuid4().hex}")
        descriptor = syscalls.create(aside)
        try:
            try:
                at = 0
                for slab in slabs:
                    syscalls.write_at(descriptor, slab, at, path)
                    at += len(slab)
                syscalls.sync(descriptor, path)
            finally:
                os.close(descriptor)
            named = self._name(aside, path, new=new)
        except BaseException:
            syscalls.remove(aside)
            raise
        syscalls.sync_directory(folder)
        return named

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock against writers of other machines too.

        An NFS client locks a folder on its own machine alone, and a file at the server where it was opened for writing.
        Source: flock(2), NFS details.
        """
        with super()._alone(), self._sign_locked():
            yield

    @contextmanager
    def _sign_locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._path(SIGN), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            yield  # not there yet, or another user's: what is left is the lock of the folder
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_folders(self, key: str) -> None:
        folder = self.url
        for name in key.split("/")[:-1]:
            above, folder = folder, os.path.join(folder, name)
            if not os.path.isdir(folder):
                syscalls.make_directory(folder)
                syscalls.sync_directory(above)

    def _remove_if_empty(self, folder: str) -> None:
        try:
            os.rmdir(folder)
        except OSError:
            return  # others have something in it


def _version_of(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"


def is_unfinished(key: str) -> bool:
    """Return True for the key of an unfinished file."""
    name = key.rpartition("/")[2]
    return name.startswith(".") and PUT in name


def is_trial(key: str) -> bool:
    """Return True for the key of a trial file.

    By it a folder is asked for its time, or whether it renames.
    """
    return key.rpartition("/")[2].startswith((f"{MARK}clock-", f"{MARK}probe-"))
