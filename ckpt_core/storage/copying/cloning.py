"""Files that share their storage until either is written to.

On disks that can do that (btrfs, XFS).
"""

import fcntl
import os
from collections.abc import Callable

from ckpt_core.storage.files.local import open_regular
from ckpt_core.storage.writing import syscalls

_FICLONE = 0x40049409
"""Source: Linux, `include/uapi/linux/fs.h`."""


def clone(source: str, target: str, *, opened: Callable[[int], None]) -> bool:
    """Make an existing file share all of another's storage.

    Returns False where the disk cannot, or the two are on others.

    Args:
        source: The file whose content it is to have.
        target: The file.
        opened: Told of the descriptor of the source before; raises where it is not the file that is meant.
    """
    reading = open_regular(source, source)
    try:
        opened(reading)
        writing = syscalls.reopen(target)
        try:
            fcntl.ioctl(writing, _FICLONE, reading)
            return True
        except OSError:
            return False  # whatever the reason, the bytes are moved then, and what is wrong with the disk shows
        finally:
            os.close(writing)
    finally:
        os.close(reading)
