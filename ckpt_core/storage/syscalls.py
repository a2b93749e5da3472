"""Every call that changes a file goes through here, so that what may fail, and in which order, is in one place.

Errors become ours, with the path and the reason; an fsync that fails is never tried again, since the kernel may have
dropped what it could not write.
"""

import ctypes
import errno
import os

from ckpt_core.errors import BudgetError, CkptError, OverwriteError, UnreachableError
from ckpt_core.schema.text import printable

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def create(path: str) -> int:
    """A descriptor of a new file; the umask decides who may read it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def reopen(path: str) -> int:
    """A descriptor of a file that an earlier, interrupted run began."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def allocate(descriptor: int, size: int, path: str) -> None:
    """Reserve the space of a file, so that a full disk shows before anything is written."""
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
        os.ftruncate(descriptor, size)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise as_ckpt_error(error, path) from error
        os.ftruncate(descriptor, size)


def write_at(descriptor: int, data: memoryview | bytes, offset: int, path: str) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    try:
        while len(view):
            count = os.pwrite(descriptor, view, offset)
            view, offset = view[count:], offset + count
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def append(descriptor: int, data: bytes, path: str) -> None:
    """Write at the end of a file opened for appending, and sync it."""
    try:
        os.write(descriptor, data)
        os.fdatasync(descriptor)
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def write_file(path: str, data: bytes) -> None:
    """A new file with this content, synced."""
    descriptor = create(path)
    try:
        write_at(descriptor, data, 0, path)
        sync(descriptor, path)
    finally:
        os.close(descriptor)


def sync(descriptor: int, path: str) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise as_ckpt_error(error, path) from error
    try:
        sync(descriptor, path)
    finally:
        os.close(descriptor)


def make_directory(path: str) -> None:
    """A directory that may exist already; its parent must."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise OverwriteError(f"{printable(path)}: exists and is not a directory; choose another place") from None
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def rename(source: str, target: str) -> None:
    """Give a name to what had another, in place of what has it now."""
    try:
        os.rename(source, target)
    except OSError as error:
        raise as_ckpt_error(error, target) from error


def rename_new(source: str, target: str) -> None:
    """Give a name that nothing has; OverwriteError where something came to have it meanwhile."""
    code = _renameat2(source, target, _RENAME_NOREPLACE)
    if code in _UNSUPPORTED:
        if os.path.lexists(target):
            code = errno.EEXIST
        else:
            rename(source, target)
            return
    if code == errno.EEXIST:
        raise OverwriteError(f"{printable(target)}: appeared while it was being written; nothing there was touched")
    if code:
        raise as_ckpt_error(OSError(code, os.strerror(code)), target)


def exchange(first: str, second: str) -> bool:
    """Exchange two names in one step; False where the filesystem cannot."""
    code = _renameat2(first, second, _RENAME_EXCHANGE)
    if code in _UNSUPPORTED:
        return False
    if code:
        raise as_ckpt_error(OSError(code, os.strerror(code)), second)
    return True


def _renameat2(source: str, target: str, flags: int) -> int:
    """The errno of renameat2; 0 where it worked, ENOSYS where the C library does not have it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return errno.ENOSYS
    done = call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags)
    return 0 if done == 0 else ctypes.get_errno()


def remove(path: str) -> None:
    """Remove a file; none there is well too."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def remove_tree(path: str) -> None:
    """Remove a directory of ours and all in it; links in it are removed, not followed."""
    try:
        with os.scandir(path) as scan:
            items = sorted(scan, key=lambda item: item.name)
        for item in items:
            if item.is_dir(follow_symlinks=False):
                remove_tree(item.path)
            else:
                os.unlink(item.path)
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise as_ckpt_error(error, path) from error


def as_ckpt_error(error: OSError, path: str) -> CkptError:
    """What the system said, with the path, and what to do."""
    name, reason = printable(path), (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BudgetError(f"{name}: {reason}; free space there, or write to another disk; nothing was committed")
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR):
        return OverwriteError(f"{name}: {reason}; choose another place")
    return UnreachableError(f"{name}: cannot be written ({reason}); nothing was committed")
