"""Digests of tensors and files, in one pass in order.

Of a tensor it is that of its logical bytes; a file is digested block by block.
"""

import xxhash

from ckpt_core.schema.byte_consumers import BLOCK as BLOCK
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.side_files.seals import FileSeal


class TensorDigest:
    """The digest of one tensor, fed in order.

    It gets the row-major little-endian bytes, in pieces of any length.

    It is xxh3-128 over dtype, shape and the digests of the 1 MiB blocks.
    """

    def __init__(self, dtype: DType, shape: tuple[int, ...]) -> None:
        self._root = xxhash.xxh3_128(f"{dtype.code}{list(shape)}".encode())
        self._block = xxhash.xxh3_128()
        self._filled = 0

    def update(self, data: memoryview | bytes) -> None:
        view = memoryview(data)
        while len(view):
            part = view[: BLOCK - self._filled]
            self._block.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == BLOCK:
                self._close_block()

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        if self._filled:
            self._close_block()
        return str(self._root.hexdigest())

    def _close_block(self) -> None:
        self._root.update(self._block.digest())
        self._block.reset()
        self._filled = 0


def of_small_tensor(dtype: DType, shape: tuple[int, ...], data: memoryview | bytes) -> str:
    """Return the digest of a tensor of at most one block.

    It is the same as `TensorDigest` gives.
    """
    return of_blocks(dtype, shape, xxhash.xxh3_128_digest(data) if len(data) else b"")


def of_blocks(dtype: DType, shape: tuple[int, ...], blocks: bytes) -> str:
    """Return a tensor's digest from those of its blocks.

    The blocks come in order; the digest is the same as `TensorDigest` gives.
    """
    return str(xxhash.xxh3_128_hexdigest(f"{dtype.code}{list(shape)}".encode() + blocks))


def of_tensors(tensors: dict[str, str]) -> str:
    """Return a component's digest from its tensors', by name.

    32 hexadecimal digits.
    """
    root = xxhash.xxh3_128()
    for name in sorted(tensors):
        encoded = name.encode("utf-8", "surrogatepass")
        root.update(len(encoded).to_bytes(8, "little") + encoded + tensors[name].encode())
    return str(root.hexdigest())


def seal_of(size: int, blocks: bytes) -> FileSeal:
    """Return a file's seal from its size and block digests.

    They are in order.
    """
    return FileSeal(size, str(xxhash.xxh3_128(blocks).hexdigest()), blocks)


def block_digest(data: memoryview | bytes) -> bytes:
    """The digest of one block: 16 bytes."""
    return bytes(xxhash.xxh3_128_digest(data))
