"""Checks a question against the listing before it is read.

It checks the name, and where the range ends.
"""

import errno
import os
from collections.abc import Mapping

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CkptError, CorruptError, ReplacedError, UnreachableError
from ckpt_core.schema.text import printable

DENIED = os.strerror(errno.EACCES).lower()
"""Why a file that may not be read is left out of a listing."""


def check_range(path: str, offset: int, length: int, size: int) -> None:
    """CorruptError where the range leaves a file of `size` bytes."""
    if offset < 0 or length < 0:
        raise CorruptError(
            f"{printable(path)}: a range starts at byte {offset}, {length} long", code="CK004", path=path
        )
    if offset + length > size:
        raise ends_early(path, offset + length, size)


def ends_early(path: str, wanted: int, size: int) -> CorruptError:
    """Return the error for a file shorter than it is called.

    What refers to it says how long.
    """
    return CorruptError(
        f"{printable(path)}: byte {wanted} is needed and the file ends at {size} (truncated?); copy it again",
        code="CK004",
        path=path,
    )


def gone(path: str) -> ReplacedError:
    """Return the error for a file deleted after the listing."""
    message = f"{printable(path)}: was removed while it was read; run it again"
    return ReplacedError(message, code="CK003", path=path)


def not_listed(path: str, skipped: Mapping[str, str]) -> CkptError:
    """Return the error for a path that is not listed.

    `skipped` may know why. UnreachableError for a lack of rights.
    """
    why = skipped.get(path, "no such file in the checkpoint")
    if why == DENIED:
        return UnreachableError(f"{printable(path)}: {why}; ask its owner for the right to read it", path=path)
    return CorruptError(f"{printable(path)}: {why}", code="CK005", path=path)


def check_budget(nbytes: int, what: str) -> None:
    """Refuse a piece that is larger than a header may be.

    BudgetError: it has to be held at once.
    """
    if nbytes > knobs.header_limit():
        raise BudgetError(f"{printable(what)}: needs {nbytes} bytes at once, more than {knobs.header_limit()}")
