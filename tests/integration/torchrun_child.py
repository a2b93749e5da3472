"""A process of torchrun that runs ckpt: `torchrun_child.py HOW N ARGUMENTS`.

At the N-th write of rank 1 the disk fails (HOW is `fails`) or the process is killed (`killed`); `well` leaves it alone.
"""

import errno
import os
import signal
import sys

from ckpt_core.cli.main import main
from ckpt_core.storage.writing import journal

HOW, NUMBER = sys.argv[1], int(sys.argv[2])
journal._SYNC_AFTER = 1


class Writes:
    """Counts writes, and strikes at one."""

    def __init__(self):
        self._count = 0
        self._write = os.pwrite

    def __call__(self, *arguments):
        self._count += 1
        if self._count == NUMBER:
            if HOW == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._write(*arguments)


if HOW != "well" and os.environ["RANK"] == "1":
    os.pwrite = Writes()
sys.exit(main(sys.argv[3:]))
