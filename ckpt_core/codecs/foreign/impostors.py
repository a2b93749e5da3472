"""Recognises files that only have a checkpoint's name.

Each is damaged or something else; the error says so in one sentence.
"""

from ckpt_core.errors import CkptError, CorruptError
from ckpt_core.schema.text import printable

_LFS = b"version https://git-lfs.github.com/spec/"
"""Start of a pointer file. Source: git-lfs, docs/spec.md."""


def impostor(path: str, head: bytes, size: int) -> CkptError | None:
    """Return the error that names a file's real content.

    None where it is nothing we know to be wrong.
    """
    name = printable(path)
    if size == 0:
        return _corrupt("CK010", path, f"{name}: the file is empty; copy it again")
    if head.startswith(_LFS):
        return _corrupt("CK011", path, f"{name}: a git-lfs pointer, not the file itself; run git lfs pull")
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")) and b"<net " not in start:
        return _corrupt("CK012", path, f"{name}: a web page, not a checkpoint (a failed download?); download it again")
    if not head.strip(b"\0"):
        return _corrupt("CK013", path, f"{name}: nothing but zero bytes (an interrupted copy?); copy it again")
    return None


def _corrupt(code: str, path: str, message: str) -> CorruptError:
    return CorruptError(message, code=code, path=path)
