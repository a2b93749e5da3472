"""The digests of a file as it lies there."""

from ckpt_core.schema.access import Files
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.storage.digests import BLOCK, block_digest, seal_of


def digests_of(files: Files, path: str) -> FileSeal:
    """The digests of a file, read whole."""
    size = files.size(path)
    blocks = [block_digest(files.read(path, at, min(BLOCK, size - at))) for at in range(0, size, BLOCK)]
    return seal_of(size, b"".join(blocks))
