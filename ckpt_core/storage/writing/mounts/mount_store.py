"""A folder of a mount as a store of objects.

Some mounts name a file once and take its bytes in order: this is for them.

An object is a file that is written under its own name and closed, whole from then on: what guards it until then is the
mark of what is not finished. Where the mount can rename a file, small ones are put in one step. Parts are files in a
folder of their own until they are joined; they survive a stop. Conditions hold among the writers of this machine, which
lock the folder; of those on others the first that the mount shows wins, and where it makes links, of two that put a new
file the first that it names.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import xxhash

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, ReplacedError
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.schema.text import printable
from ckpt_core.storage.objects.store import (
    ALWAYS,
    Condition,
    ObjectStore,
    StoredObject,
    Upload,
    UploadedPart,
)
from ckpt_core.storage.writing import syscalls

_PART = 16 << 20
_LOOKED_AT = 64 << 10
"""Bytes at the begin and at the end by which contents of one size are told apart: times are no versions, since a mount
may give a file another one when it has reached the bucket."""

_UPLOAD = f"{MARK}upload-"


class MountStore(ObjectStore):
    """A folder of this machine.

    Args:
        root: Its path, without links.
    """

    def __init__(self, root: str) -> None:
        self.url = root

    def head(self, key: str) -> StoredObject | None:
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                return _described(key, file.fileno())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise syscalls.as_ckpt_error(error, path) from error

    def find(self, prefix: str) -> Iterator[StoredObject]:
        for above, _, names in self._below(prefix):
            keys = [self._key(above, name) for name in sorted(names)]
            found = (self.head(key) for key in keys if key.startswith(prefix))
            yield from (one for one in found if one is not None)

    def read(self, key: str, *, version: str | None = None) -> bytes:
        there = self.head(key)
        if there is None:
            raise CheckpointNotFoundError(f"{self._shown(key)}: nothing there; check the name")
        if version not in (None, there.version):
            raise ReplacedError(f"{self._shown(key)}: was replaced while it was read; run it again")
        with self._told(key), open(self._path(key), "rb") as file:
            return file.read()

    def put(self, key: str, data: bytes | memoryview, condition: Condition = ALWAYS) -> StoredObject:
        with self._alone():
            there = self.head(key)
            held = there is None if condition.absent else condition.version in (None, there and there.version)
            if held:
                self._make_folders(key)
                held = self._write(key, [data], renamed=len(data) <= knobs.slab_bytes(), new=condition.absent)
                there = self.head(key)
            if there is not None and (held or (there.size == len(data) and self.read(key) == bytes(data))):
                return there
        raise ConditionFailedError(f"{self._shown(key)}: another writer was there first")

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            syscalls.remove(self._path(key))
            self._remove_empty(os.path.dirname(self._path(key)))

    def delete_version(self, key: str, version: str) -> bool:
        with self._alone():
            there = self.head(key)
            if there is None or there.version != version:
                return False
            self.delete([key])
            return True

    def part_bytes(self, size: int) -> int:
        return max(_PART, -(-size // 10_000 >> 20) << 20)

    def begin_upload(self, key: str) -> str:
        id = uuid.uuid4().hex
        self._make_folders(key)
        syscalls.make_directory(self._folder_of(key, id))
        return id

    def put_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> UploadedPart:
        """Put a part, named by its digest and size.

        It is complete where its size is the one in its name too.
        """
        part = UploadedPart(number, len(data), xxhash.xxh3_64_hexdigest(data))
        path = os.path.join(self._folder_of(key, upload), f"{number:05}-{part.tag}-{part.size}")
        syscalls.remove(path)
        syscalls.write_file(path, data)
        return part

    def parts(self, key: str, upload: str) -> list[UploadedPart]:
        folder = self._folder_of(key, upload)
        try:
            names = sorted(os.listdir(folder))
            whole = [name for name in names if os.stat(os.path.join(folder, name)).st_size == int(name.split("-")[2])]
        except FileNotFoundError:
            return []
        found = [UploadedPart(int(number), int(size), tag) for number, tag, size in (n.split("-") for n in whole)]
        twice = {one.number for one in found if sum(other.number == one.number for other in found) > 1}
        return [one for one in found if one.number not in twice]

    def complete(
        self, key: str, upload: str, parts: Iterable[UploadedPart], condition: Condition = ALWAYS
    ) -> StoredObject:
        wanted, folder = list(parts), self._folder_of(key, upload)
        if not os.path.isdir(folder):
            there = self.head(key)
            if there is not None and there.size == sum(part.size for part in wanted):
                return there  # a completion before this one
        paths = [os.path.join(folder, f"{part.number:05}-{part.tag}-{part.size}") for part in wanted]
        self._write(key, (slab for path in paths for slab in self._slabs(path)), renamed=False)
        self.abort(key, upload)
        made = self.head(key)
        assert made is not None
        return made

    def abort(self, key: str, upload: str) -> None:
        syscalls.remove_tree(self._folder_of(key, upload))

    def uploads(self, prefix: str) -> Iterator[Upload]:
        for above, uploads, _ in self._below(prefix):
            for name in uploads:
                shown, _, id = name[1:].rpartition(_UPLOAD)
                if self._key(above, shown).startswith(prefix):
                    yield Upload(self._key(above, shown), id, os.stat(os.path.join(above, name)).st_mtime)

    def copy(self, source: str, key: str, *, version: str | None = None, of: ObjectStore | None = None) -> StoredObject:
        there = self.head(source)
        if there is None:
            raise CheckpointNotFoundError(f"{self._shown(source)}: nothing there; check the name")
        if version not in (None, there.version):
            raise ReplacedError(f"{self._shown(source)}: was replaced while it was copied; run it again")
        self._make_folders(key)
        self._write(key, self._slabs(self._path(source)), renamed=False)
        made = self.head(key)
        assert made is not None
        return made

    def now(self) -> float:
        """Return the time that the mount gives a new file."""
        path = self._path(f"{MARK}clock-{uuid.uuid4().hex}")
        syscalls.write_file(path, b"")
        try:
            return os.stat(path).st_mtime
        except FileNotFoundError:
            return time.time()
        finally:
            syscalls.remove(path)

    def _below(self, prefix: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each folder that may hold such keys.

        Each comes with its path, the uploads in it, and its files.
        """
        for above, folders, names in os.walk(self._path(prefix.rpartition("/")[0])):
            uploads = sorted(name for name in folders if _UPLOAD in name)
            inside = ((name, f"{self._key(above, name)}/") for name in sorted({*folders} - {*uploads}))
            folders[:] = [name for name, key in inside if key.startswith(prefix) or prefix.startswith(key)]
            yield above, uploads, names

    def _key(self, above: str, name: str) -> str:
        return os.path.relpath(os.path.join(above, name), self.url)

    def _write(self, key: str, slabs: Iterable[bytes | memoryview], *, renamed: bool, new: bool = False) -> bool:
        """Write a file, new or in place of another.

        It is written from begin to end, and named in one step where it can be renamed. Returns False where it was to be
        new, and another has the name.
        """
        path = self._path(key)
        aside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{MARK}put-{uuid.uuid4().hex}")
        target = aside if renamed and self._renames_files() else path
        with self._told(key):
            syscalls.remove(target)
            descriptor = syscalls.create(target)
            try:
                for slab in slabs:
                    view = memoryview(slab)
                    while len(view):
                        view = view[os.write(descriptor, view) :]
                syscalls.sync(descriptor, target)
            finally:
                os.close(descriptor)
            if target != path:
                return self._name(target, path, new=new)
        return True

    def _name(self, aside: str, path: str, *, new: bool) -> bool:
        if not new:
            syscalls.rename(aside, path)
            return True
        if syscalls.name_new(aside, path):
            return True
        syscalls.remove(aside)
        return False

    def _renames_files(self) -> bool:
        """Return whether the mount renames a file.

        It is tried once, and remembered by the name of the store.
        """
        if not hasattr(self, "_renames"):
            first = self._path(f"{MARK}probe-{uuid.uuid4().hex}")
            syscalls.write_file(first, b"x")
            try:
                os.rename(first, f"{first}-renamed")
                self._renames = True
            except OSError:
                self._renames = False
            finally:
                syscalls.remove(first)
                syscalls.remove(f"{first}-renamed")
        return self._renames

    def _slabs(self, path: str) -> Iterator[bytes]:
        try:
            with open(path, "rb") as file:
                while slab := file.read(knobs.slab_bytes()):
                    yield slab
        except OSError as error:
            raise syscalls.as_ckpt_error(error, path) from error

    def _make_folders(self, key: str) -> None:
        folder = self.url
        for name in key.split("/")[:-1]:
            folder = os.path.join(folder, name)
            syscalls.make_directory(folder)

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder of ours that nothing is in any more.

        A store has none.
        """
        while MARK in os.path.basename(folder) and folder != self.url:
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def _path(self, key: str) -> str:
        return os.path.join(self.url, key) if key else self.url

    def _folder_of(self, key: str, upload: str) -> str:
        folder, _, name = key.rpartition("/")
        return os.path.join(self._path(folder), f".{name}{_UPLOAD}{upload}")

    def _shown(self, key: str) -> str:
        return printable(self._path(key))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock against other writers on this machine.

        The lock is held for the moment between a look and a write.
        """
        descriptor = os.open(self.url, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise syscalls.as_ckpt_error(error, self._path(key)) from error


def _described(key: str, descriptor: int) -> StoredObject:
    found = os.fstat(descriptor)
    ends = os.pread(descriptor, _LOOKED_AT, 0) + os.pread(descriptor, _LOOKED_AT, max(found.st_size - _LOOKED_AT, 0))
    return StoredObject(key, found.st_size, f"{found.st_size}-{xxhash.xxh3_64_hexdigest(ends)}", found.st_mtime)
