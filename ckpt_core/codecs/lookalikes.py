"""Files that have a checkpoint's name and are something else: what they are, in one sentence."""

from ckpt_core.errors import CkptError, CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.text import printable

_LFS = b"version https://git-lfs.github.com/spec/"
"""Start of a pointer file. Source: git-lfs, docs/spec.md."""


def impostor(path: str, head: bytes, size: int) -> CkptError | None:
    """The error that says what a file really is; None where it is nothing we know to be wrong."""
    name = printable(path)
    if size == 0:
        return _corrupt("CK010", path, f"{name}: the file is empty; copy it again")
    if head.startswith(_LFS):
        return _corrupt("CK011", path, f"{name}: a git-lfs pointer, not the file itself; run git lfs pull")
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return _corrupt("CK012", path, f"{name}: a web page, not a checkpoint (a failed download?); download it again")
    if not head.strip(b"\0"):
        return _corrupt("CK013", path, f"{name}: nothing but zero bytes (an interrupted copy?); copy it again")
    return None


def unknown(files: Files) -> CkptError:
    """The error for a place that no format claims."""
    place = str(files.location)
    if not files.entries and files.skipped:
        path, reason = next(iter(files.skipped.items()))
        message = f"{place}: holds no file that can be read; {printable(path)} was left out: {reason}"
        return CorruptError(message, code="CK006", path=path)
    if not files.entries:
        return CorruptError(f"{place}: the directory holds no file", code="CK014", hint="check the name")
    for path, entry in list(files.entries.items())[:64]:
        error = impostor(path, files.head(path), entry.size)
        if error is not None:
            return error
    return UnsupportedFormatError(
        f"{place}: no installed format recognises it; run ckpt formats to see which there are, or install a plugin",
        code="CK015",
    )


def _corrupt(code: str, path: str, message: str) -> CorruptError:
    return CorruptError(message, code=code, path=path)
