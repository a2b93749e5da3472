"""The errno in the message of an error that the system raised.

Whoever looks for it has a training's log.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.arguments import marked
from ckpt_core.errors import CkptError


@contextmanager
def told_by_system() -> Iterator[None]:
    """Name the errno of what the system refused."""
    try:
        yield
    except CkptError as error:
        said = said_by_system(error)
        if not said:
            raise
        raise type(error)(f"{marked(error.message)}{said}", code=error.code, path=error.path) from error


def said_by_system(error: CkptError) -> str:
    """Return ` (ENOSPC)` where the system's error is the cause.

    An error of ours has that behind it; any other has nothing.
    """
    cause: BaseException | None = error
    while isinstance(cause, CkptError):  # some of ours are OSErrors too, without an errno
        cause = cause.__cause__
    code = cause.errno if isinstance(cause, OSError) else None
    return f" ({errno.errorcode[code]})" if code is not None and code in errno.errorcode else ""
