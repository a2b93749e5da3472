"""Every call that changes a file.

What may fail, and in which order, is in one place so.

Errors become ours, with the path and the reason; an fsync that fails is never tried again, since the kernel may have
dropped what it could not write.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.errors import BudgetError, CkptError, CorruptError, OverwriteError, UnreachableError, UsageError
from ckpt_core.schema.text import printable
from ckpt_core.storage.workers import got_on

_NEW = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NO_LINKS = (*_UNSUPPORTED, errno.EPERM, errno.EMLINK)


def create(path: str) -> int:
    """Return a descriptor of a new file.

    The umask decides who may read it.
    """
    with _told(path):
        return os.open(path, _NEW | os.O_EXCL, 0o666)


def reopen(path: str) -> int:
    """Open a file that an interrupted run may have begun."""
    with _told(path):
        return os.open(path, _NEW, 0o666)


def open_existing(path: str) -> int:
    """A descriptor of a file that another process has made, for writing."""
    with _told(path):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def open_direct(path: str) -> int | None:
    """Return a descriptor for writing past the page cache.

    None where the filesystem has no such thing.
    """
    with _told(path):
        try:
            return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return None


def require_space(folder: str, size: int) -> None:
    """Raise BudgetError where a disk lacks room for so many bytes.

    Reserving them there would fill it for everybody else until that fails. What it says of room is not relied on.
    """
    with _told(folder):
        found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and size > free:
        raise BudgetError(
            f"{printable(folder)}: {size} bytes are to be written and {free} are free; "
            "free space there, or write to another disk; nothing was committed"
        )


def allocate(descriptor: int, size: int, path: str) -> None:
    """Reserve the space of a file.

    A full disk shows so before anything is written.
    """
    with _told(path):
        try:
            if size:
                os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        os.ftruncate(descriptor, size)


def write_at(descriptor: int, data: memoryview | bytes, offset: int, path: str) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    with _told(path):
        while len(view):
            count = os.pwrite(descriptor, view, offset)
            view, offset = view[count:], offset + count
            got_on()


def write_direct(direct: int, plain: int, data: memoryview, offset: int, path: str) -> None:
    """Write all of `data` past the page cache.

    It is aligned in memory and file; what that refuses goes through the cache.
    """
    with _told(path):
        try:
            done = os.pwrite(direct, data, offset)
            got_on()
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            done = 0
    write_at(plain, data[done:], offset + done, path)


def read_at(descriptor: int, out: memoryview, offset: int, path: str) -> None:
    """Fill `out` from `offset` of a file of ours.

    CorruptError where it ends before that.
    """
    with _told(path):
        while len(out):
            count = os.preadv(descriptor, [out], offset)
            if not count:
                raise CorruptError(f"{printable(path)}: ends early; another program has changed it", path=path)
            out, offset = out[count:], offset + count
            got_on()


def append(path: str, data: bytes) -> None:
    """Add to the end of an existing file, without a sync."""
    with _told(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def write_file(path: str, data: bytes | memoryview) -> None:
    """A new file with this content, synced."""
    descriptor = create(path)
    try:
        write_at(descriptor, data, 0, path)
        sync(descriptor, path)
    finally:
        os.close(descriptor)


def truncate(descriptor: int, size: int, path: str) -> None:
    """Cut off what follows the first `size` bytes."""
    with _told(path):
        os.ftruncate(descriptor, size)


def sync(descriptor: int, path: str) -> None:
    with _told(path):
        os.fsync(descriptor)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    with _told(path):
        descriptor = os.open(path, _FOLDER)
    try:
        sync(descriptor, path)
    finally:
        os.close(descriptor)


def sync_tree(root: str) -> None:
    """Make all names in a directory tree durable, the deepest first."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_directory(folder)


def make_directory(path: str) -> None:
    """A directory that may exist already; its parent must."""
    with _told(path):
        try:
            os.mkdir(path)
        except FileExistsError:
            if os.path.islink(path) or not os.path.isdir(path):
                raise OverwriteError(
                    f"{printable(path)}: exists and is not a directory; choose another place"
                ) from None


def make_directories(path: str) -> None:
    """A directory and those above it that are missing, each durable."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_directories(above)
    make_directory(path)
    sync_directory(above)


def list_names(path: str) -> list[str]:
    """Names in a directory, sorted."""
    with _told(path):
        return sorted(os.listdir(path))


def rename(source: str, target: str) -> None:
    """Rename something, in place of what has the name now.

    A directory gives way only where it is empty.
    """
    with _told(target):
        os.rename(source, target)


def rename_new(source: str, target: str) -> None:
    """Give a name that nothing has.

    OverwriteError where something came to have it meanwhile.
    """
    code = renameat2(source, target, _RENAME_NOREPLACE)
    if code in _UNSUPPORTED:
        if not os.path.lexists(target):
            rename(source, target)
            return
        code = errno.EEXIST
    if code == errno.EEXIST:
        raise OverwriteError(f"{printable(target)}: appeared while it was being written; nothing there was touched")
    if code:
        raise as_ckpt_error(OSError(code, os.strerror(code)), target)


def exchange(first: str, second: str) -> bool:
    """Exchange two names in one step; False where the filesystem cannot."""
    code = renameat2(first, second, _RENAME_EXCHANGE)
    if code in _UNSUPPORTED:
        return False
    if code:
        raise as_ckpt_error(OSError(code, os.strerror(code)), second)
    return True


def name_new(source: str, target: str) -> bool:
    """Give a file a name that nothing has.

    Returns False where something has it. A link decides, which the server of a network filesystem makes or refuses for
    all of its machines; where none is made, the file is renamed.
    """
    with _told(target):
        try:
            os.link(source, target)
        except FileExistsError:
            if os.stat(source).st_nlink == 1:  # else it is ours: the answer to the first request was lost
                return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(source, target)
            return True
    remove(source)
    return True


def renameat2(source: str, target: str, flags: int) -> int:
    """Return the errno of the system call of that name.

    0 where it worked, ENOSYS where the C library does not have it.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return errno.ENOSYS
    done = call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags)
    return 0 if done == 0 else ctypes.get_errno()


def remove(path: str) -> None:
    """Remove a file; none there is well too."""
    with _told(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def remove_tree(path: str) -> None:
    """Remove whatever is at a path, a directory with all in it.

    Links are removed, never followed.
    """
    with _told(path):
        _remove_below(None, path)


def _remove_below(folder: int | None, name: str) -> None:
    """Remove what has a name in an open folder.

    No link put there meanwhile leads anywhere else.
    """
    try:
        descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=folder)
        return
    try:
        for inner in sorted(os.listdir(descriptor)):
            _remove_below(descriptor, inner)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=folder)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Make an OSError of the block ours.

    Some of ours are OSErrors too: they stay.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, CkptError):
            raise
        raise as_ckpt_error(error, path) from error


def as_ckpt_error(error: OSError, path: str) -> CkptError:
    """Return the system's words, with the path and the next step."""
    name, reason = printable(path), (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BudgetError(f"{name}: {reason}; free space there, or write to another disk; nothing was committed")
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR):
        return OverwriteError(f"{name}: {reason}; choose another place")
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{name}: {reason}; choose a shorter one")
    return UnreachableError(f"{name}: cannot be written ({reason}); nothing was committed")
