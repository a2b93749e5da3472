"""Listings and reads of this machine's disks and mounts, with the standard library alone.

Regular files only, opened without following a link at the last step and without waiting for a pipe. Links are listed
where they end inside the listed directory, or inside the cache of the Hugging Face repository it belongs to.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CheckpointNotFoundError, CorruptError, UnreachableError
from ckpt_core.schema.access import HEAD_BYTES, FileEntry, Files
from ckpt_core.schema.locations import Kind, Location
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class LocalFiles(Files):
    """A listing of a local directory, or of one file in it. `links` maps listed links to where they end."""

    def __init__(
        self,
        location: Location,
        root: str,
        entries: Mapping[str, FileEntry],
        *,
        skipped: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        self.location = location
        self._root = root
        self._entries = entries
        self._skipped = skipped or {}
        self._links = links or {}
        self._heads: dict[str, bytes] = {}

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        return self._entries

    @property
    def skipped(self) -> Mapping[str, str]:
        return self._skipped

    def head(self, path: str) -> bytes:
        if path not in self._heads:
            self._heads[path] = self.read(path, 0, min(self.size(path), HEAD_BYTES))
        return self._heads[path]

    def size(self, path: str) -> int:
        if path not in self._entries:
            raise _not_listed(path, self._skipped)
        return self._entries[path].size

    def local_path(self, path: str) -> str:
        if path not in self._entries:
            raise _not_listed(path, self._skipped)
        return self._links.get(path) or os.path.join(self._root, path)

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        descriptor = open_regular(self.local_path(path), path)
        try:
            fill(descriptor, path, offset, out)
        finally:
            os.close(descriptor)

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        path, descriptor = "", -1
        try:
            for wanted in ranges:
                if wanted.path != path:
                    if descriptor >= 0:
                        os.close(descriptor)
                    descriptor = -1
                    descriptor = open_regular(self.local_path(wanted.path), wanted.path)
                    path = wanted.path
                data = _pread(descriptor, path, wanted.length, wanted.offset)
                if len(data) != wanted.length:
                    raise ends_early(path, wanted.end, wanted.offset + len(data))
                yield data
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def below(self, root: str) -> "LocalFiles":
        if not root:
            return self
        prefix = root.rstrip("/") + "/"
        if root in self._entries:
            folder, _, name = root.rpartition("/")
            prefix = f"{folder}/" if folder else ""
            entries = {name: FileEntry(name, self._entries[root].size)}
            kind = Kind.FILE
        else:
            entries = {
                path[len(prefix) :]: FileEntry(path[len(prefix) :], entry.size)
                for path, entry in self._entries.items()
                if path.startswith(prefix)
            }
            kind = Kind.DIRECTORY
        return LocalFiles(
            Location(os.path.join(self._root, root), kind),
            os.path.join(self._root, prefix.rstrip("/")),
            entries,
            skipped={p[len(prefix) :]: why for p, why in self._skipped.items() if p.startswith(prefix)},
            links={p[len(prefix) :]: end for p, end in self._links.items() if p.startswith(prefix)},
        )


def probe(path: str) -> Kind | None:
    """What is at a path: a file, a directory, or None for nothing.

    Raises:
        UnreachableError: It cannot be told: no permission, a mount that fails.
        CorruptError: It is neither a regular file nor a directory.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UnreachableError(f"{printable(path)}: {_reason(error)}") from error
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    if stat.S_ISREG(mode):
        return Kind.FILE
    raise CorruptError(f"{printable(path)}: not a regular file (a device, a pipe or a socket)", code="CK002")


def list_local(path: str) -> LocalFiles:
    """The listing of a directory, or of one file. The link a person typed is followed; those below are judged."""
    kind = probe(path)
    if kind is None:
        raise CheckpointNotFoundError(f"{printable(path)}: no such file or directory; check the name")
    if kind is Kind.DIRECTORY:
        return _list_directory(path)
    # A link may be named anything; the name that was typed is what formats see, the file it ends at is what is read.
    folder, name = os.path.split(path)
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise UnreachableError(f"{printable(path)}: {_reason(error)}") from error
    return LocalFiles(
        Location(path, Kind.FILE), folder or ".", {name: FileEntry(name, size)}, links={name: os.path.realpath(path)}
    )


def _list_directory(root: str) -> LocalFiles:
    entries: dict[str, FileEntry] = {}
    skipped: dict[str, str] = {}
    links: dict[str, str] = {}
    homes = _homes(root)
    limit = knobs.listing_limit()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            scan = os.scandir(os.path.join(root, folder))
        except OSError as error:
            if not folder:
                raise UnreachableError(f"{printable(root)}: {_reason(error)}") from error
            skipped[folder] = _reason(error)
            continue
        with scan:
            for item in scan:
                path = f"{folder}/{item.name}" if folder else item.name
                if len(entries) + len(pending) >= limit:
                    raise BudgetError(f"{printable(root)}: more than {limit} files; name a directory further down")
                _add(item, path, homes, entries, skipped, links, pending)
    return LocalFiles(
        Location(root, Kind.DIRECTORY), root, dict(sorted(entries.items())), skipped=skipped, links=links
    )


def _add(
    item: "os.DirEntry[str]",
    path: str,
    homes: tuple[str, ...],
    entries: dict[str, FileEntry],
    skipped: dict[str, str],
    links: dict[str, str],
    pending: list[str],
) -> None:
    try:
        if item.is_symlink():
            end = os.path.realpath(item.path)
            if not os.path.isfile(end):
                skipped[path] = "a link to a directory, or to nothing"
            elif not any(end.startswith(home + os.sep) for home in homes):
                skipped[path] = "a link that leads out of the checkpoint"
            else:
                links[path] = end
                entries[path] = FileEntry(path, os.stat(end).st_size)
        elif item.is_dir(follow_symlinks=False):
            pending.append(path)
        elif item.is_file(follow_symlinks=False):
            entries[path] = FileEntry(path, item.stat(follow_symlinks=False).st_size)
        else:
            skipped[path] = "not a regular file (a device, a pipe or a socket)"
    except OSError as error:
        skipped[path] = _reason(error)


def _homes(root: str) -> tuple[str, ...]:
    """Folders a link may end in: the listed one, and the blobs of the Hugging Face cache that it is a snapshot of.

    Layout: huggingface_hub, `models--ORG--NAME/{blobs,refs,snapshots/REVISION}`.
    """
    real = os.path.realpath(root)
    parts = real.split(os.sep)
    for index, part in enumerate(parts[:-1]):
        if parts[index + 1] == "snapshots" and part.startswith(("models--", "datasets--", "spaces--")):
            return real, os.sep.join([*parts[: index + 1], "blobs"])
    return (real,)


def open_regular(path: str, shown: str) -> int:
    """A descriptor of a regular file. `shown` names it in errors."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError as error:
        raise CorruptError(f"{printable(shown)}: was there when listed and is gone now", code="CK003") from error
    except OSError as error:
        raise UnreachableError(f"{printable(shown)}: {_reason(error)}", path=shown) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptError(f"{printable(shown)}: not a regular file", code="CK002", path=shown)
    return descriptor


def fill(descriptor: int, shown: str, offset: int, out: memoryview) -> None:
    """Read until `out` is full; CorruptError where the file ends first."""
    done = 0
    while done < len(out):
        try:
            count = os.preadv(descriptor, [out[done : done + (1 << 30)]], offset + done)
        except OSError as error:
            raise UnreachableError(f"{printable(shown)}: {_reason(error)}", path=shown) from error
        if not count:
            raise ends_early(shown, offset + len(out), offset + done)
        done += count


def ends_early(path: str, wanted: int, size: int) -> CorruptError:
    return CorruptError(
        f"{printable(path)}: byte {wanted} is needed and the file ends at {size} (truncated?); copy it again",
        code="CK004",
        path=path,
    )


def _pread(descriptor: int, path: str, length: int, offset: int) -> bytes:
    try:
        data = os.pread(descriptor, length, offset)
        while 0 < len(data) < length:
            more = os.pread(descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
    except OSError as error:
        raise UnreachableError(f"{printable(path)}: {_reason(error)}", path=path) from error
    return data


def _not_listed(path: str, skipped: Mapping[str, str]) -> CorruptError:
    why = skipped.get(path, "no such file in the checkpoint")
    return CorruptError(f"{printable(path)}: {why}", code="CK005", path=path)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
