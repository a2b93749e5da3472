"""A listing of a disk that fails in the second block of `x.bin`."""

from ckpt_core import CorruptError
from ckpt_core.storage.digests import BLOCK
from ckpt_core.storage.files.wrapped import WrappedFiles


class ShortFiles(WrappedFiles):
    """The listing; a read of `x.bin` beyond its first block and a byte fails."""

    def read_into(self, path, offset, out):
        if offset + len(out) > BLOCK + 1 and path == "x.bin":
            raise CorruptError(f"{path}: cannot be read from {offset}")
        super().read_into(path, offset, out)
