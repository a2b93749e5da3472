"""A real FUSE mount of a folder that behaves as mounts of buckets do: names are given once, folders are only prefixes.

    with bucket_mount(place, kept, renames="none") as mount: …

It speaks the kernel's own protocol, so that no library of FUSE is needed, and lives in a process of its own: a page
that is mapped must not wait for the process that waits for it. Mounting needs the right to (root, or a user namespace).
Source: linux/include/uapi/linux/fuse.h, protocol 7.31.
"""

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN, _OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_MOST = 1 << 17
_MNT_DETACH = 2


class _Mount:
    """The kernel's questions answered from a folder.

    Args:
        root: The folder.
        renames: `none` refuses all (mountpoint-s3), `files` those of folders (gcsfuse), `all` none.
    """

    def __init__(self, device: int, root: str, renames: str) -> None:
        self._device, self._renames = device, renames
        self._paths, self._nodes = {1: root}, {root: 1}
        self._handles: dict[int, int] = {}
        self._listed: dict[int, list[tuple[str, os.stat_result]]] = {}

    def serve(self) -> None:
        while True:
            try:
                question = os.read(self._device, _MOST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue
            _, opcode, unique, node, *_ = _IN.unpack_from(question)
            answer = self._answer(opcode, node, question[_IN.size :])
            if answer is not None:
                code, body = answer
                try:
                    os.write(self._device, _OUT.pack(_OUT.size + len(body), -code, unique) + body)
                except FileNotFoundError:
                    pass  # whoever asked was interrupted

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes] | None:
        act = _ACTS.get(opcode, _Mount._unknown)
        if act is None:
            return None
        try:
            return 0, act(self, node, body)
        except OSError as error:
            return error.errno or errno.EIO, b""

    def _unknown(self, node: int, body: bytes) -> bytes:
        raise OSError(errno.ENOSYS, "not here")

    def _hello(self, node: int, body: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 8, 6, _MOST, 1, 0, 0, 0, *[0] * 7)

    def _look(self, node: int, body: bytes) -> bytes:
        return self._entry(self._below(node, _text(body)))

    def _attributes(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + _attr(os.lstat(self._paths[node]))

    def _change(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & 8:
            os.truncate(self._paths[node], size)
        if valid & 1:
            os.chmod(self._paths[node], struct.unpack_from("<I", body, 68)[0] & 0o7777)
        return self._attributes(node, body)

    def _make_folder(self, node: int, body: bytes) -> bytes:
        path = self._below(node, _text(body[8:]))
        os.mkdir(path)
        return self._entry(path)

    def _unlink(self, node: int, body: bytes) -> bytes:
        path = self._below(node, _text(body))
        os.unlink(path)
        self._forget(path)
        return b""

    def _remove_folder(self, node: int, body: bytes) -> bytes:
        path = self._below(node, _text(body))
        os.rmdir(path)
        self._forget(path)
        return b""

    def _rename(self, node: int, body: bytes, head: int = 8) -> bytes:
        (other,) = struct.unpack_from("<Q", body)
        old, new, _ = (one.decode(errors="surrogateescape") for one in body[head:].split(b"\0", 2))
        source, target = self._below(node, old), self._below(other, new)
        if self._renames == "none" or (self._renames == "files" and os.path.isdir(source)):
            raise OSError(errno.ENOSYS if self._renames == "none" else errno.EMFILE, "no rename")
        os.rename(source, target)
        self._forget(target)
        moved = self._nodes.pop(source, None)
        if moved is not None:
            self._paths[moved], self._nodes[target] = target, moved
        return b""

    def _rename_with_flags(self, node: int, body: bytes) -> bytes:
        if struct.unpack_from("<QI", body)[1]:
            raise OSError(errno.EINVAL, "no flags")
        return self._rename(node, body, 16)

    def _open(self, node: int, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        return self._opened(os.open(self._paths[node], flags & (os.O_ACCMODE | os.O_APPEND | os.O_TRUNC)))

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode, umask, _ = struct.unpack_from("<IIII", body)
        path = self._below(node, _text(body[16:]))
        handle = os.open(path, flags & (os.O_ACCMODE | os.O_EXCL) | os.O_CREAT, mode & ~umask)
        return self._entry(path) + self._opened(handle)

    def _opened(self, handle: int) -> bytes:
        self._handles[handle] = 0
        return struct.pack("<QIi", handle, 0, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def _write(self, node: int, body: bytes) -> bytes:
        """In order only where names are given once, as mountpoint-s3 has it."""
        handle, offset, size = struct.unpack_from("<QQI", body)
        if self._renames == "none" and offset != os.fstat(handle).st_size:
            raise OSError(errno.EINVAL, "not in order")
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def _release(self, node: int, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        del self._handles[handle]
        os.close(handle)
        return b""

    def _sync(self, node: int, body: bytes) -> bytes:
        return b""

    def _room(self, node: int, body: bytes) -> bytes:
        return struct.pack("<5Q10I", 1 << 40, 1 << 40, 1 << 40, 1 << 30, 1 << 30, 4096, 255, 4096, 0, *[0] * 6)

    def _open_folder(self, node: int, body: bytes) -> bytes:
        path, number = self._paths[node], max(self._listed, default=0) + 1
        self._listed[number] = [(name, os.lstat(os.path.join(path, name))) for name in sorted(os.listdir(path))]
        return struct.pack("<QIi", number, 0, 0)

    def _list(self, node: int, body: bytes) -> bytes:
        number, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for at, (name, stats) in enumerate(self._listed[number][offset:], offset + 1):
            raw = os.fsencode(name)
            one = struct.pack("<QQII", stats.st_ino, at, len(raw), stats.st_mode >> 12) + raw
            one += b"\0" * (-len(one) % 8)
            if len(found) + len(one) > size:
                break
            found += one
        return found

    def _close_folder(self, node: int, body: bytes) -> bytes:
        del self._listed[struct.unpack_from("<Q", body)[0]]
        return b""

    def _below(self, node: int, name: str) -> str:
        return os.path.join(self._paths[node], name)

    def _entry(self, path: str) -> bytes:
        stats = os.lstat(path)
        if path not in self._nodes:
            node = self._nodes[path] = max(self._paths) + 1
            self._paths[node] = path
        return struct.pack("<QQQQII", self._nodes[path], 0, 0, 0, 0, 0) + _attr(stats)

    def _forget(self, path: str) -> None:
        self._nodes.pop(path, None)


_ACTS = {
    1: _Mount._look,
    2: None,
    3: _Mount._attributes,
    4: _Mount._change,
    9: _Mount._make_folder,
    10: _Mount._unlink,
    11: _Mount._remove_folder,
    12: _Mount._rename,
    14: _Mount._open,
    15: _Mount._read,
    16: _Mount._write,
    17: _Mount._room,
    18: _Mount._release,
    20: _Mount._sync,
    25: _Mount._sync,
    26: _Mount._hello,
    27: _Mount._open_folder,
    28: _Mount._list,
    29: _Mount._close_folder,
    30: _Mount._sync,
    35: _Mount._create,
    36: None,
    42: None,
    45: _Mount._rename_with_flags,
}
"""By opcode; None for what gets no answer."""


def _text(raw: bytes) -> str:
    return os.fsdecode(raw.rstrip(b"\0").partition(b"\0")[0])


def _attr(found: os.stat_result) -> bytes:
    times = [found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns]
    return _ATTR.pack(
        *(found.st_ino, found.st_size, found.st_blocks, *(one // 10**9 for one in times)),
        *(*(one % 10**9 for one in times), found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0),
    )


def _serve(place: str, root: str, renames: str, kind: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode={stat.S_IFDIR:o},user_id={os.getuid()},group_id={os.getgid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), place.encode(), f"fuse.{kind}".encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)
    print("mounted", flush=True)
    _Mount(device, root, renames).serve()


@contextmanager
def bucket_mount(place: Path, kept: Path, *, renames: str = "none", kind: str = "gcsfuse") -> Iterator[Path]:
    """A folder mounted at another for a block.

    Args:
        place: Where; made.
        kept: What keeps the content; made.
        renames: See `_Mount`.
        kind: What the table of mounts calls it.
    """
    place.mkdir(exist_ok=True)
    kept.mkdir(exist_ok=True)
    command = [sys.executable, __file__, str(place), str(kept), renames, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            if server.stdout.readline() != "mounted\n":
                raise RuntimeError(f"{place}: FUSE cannot be mounted here")
            yield place
        finally:
            ctypes.CDLL(None).umount2(str(place).encode(), _MNT_DETACH)
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
