"""Fingerprints: digests of what a tensor is, not of how it is stored, equal in every format.

A tensor's digest is xxh3-128 over its dtype, its shape and the digests of the 1 MiB blocks of its row-major
little-endian bytes; a component's is over its names, sorted, with the digests of their tensors. They prove against
accident, not against an adversary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_core.reading.boxes import slabs
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import TensorEntry

BLOCK = 1 << 20


class TensorDigest:
    """The digest of one tensor, fed with its bytes in order, in pieces of any length."""

    def __init__(self, dtype: DType, shape: tuple[int, ...]) -> None:
        import xxhash

        self._make = xxhash.xxh3_128
        self._root = self._make(f"{dtype.code}{list(shape)}".encode())
        self._block = self._make()
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
        self._block = self._make()
        self._filled = 0


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The digest of a component, and those of its tensors by name."""

    digest: str
    tensors: dict[str, str]


def digest_tensor(checkpoint: StoredCheckpoint, component: str, name: str, entry: TensorEntry) -> str:
    """The digest of a stored tensor, read in slabs."""
    digest = TensorDigest(entry.dtype, entry.shape)
    for data in read_slabs(checkpoint, component, name, entry):
        digest.update(data)
    return digest.hexdigest()


def read_slabs(
    checkpoint: StoredCheckpoint, component: str, name: str, entry: TensorEntry, *, limit: int = BLOCK
) -> Iterator[memoryview]:
    """A tensor's bytes in row-major order, in slabs of at most `limit`; each is valid until the next is asked for."""
    buffer = memoryview(bytearray(min(limit, entry.nbytes) if entry.dtype.itemsize else entry.nbytes))
    for box in slabs(entry.shape, entry.dtype, limit=limit):
        count = 1
        for size in box[1]:
            count *= size
        out = buffer[: entry.dtype.nbytes(count)]
        if len(out):
            checkpoint.read(component, name, box=box, out=out)
            yield out


def fingerprint(checkpoint: StoredCheckpoint, label: str) -> Fingerprint:
    """The fingerprint of a component. Aliases count under every name they have; their bytes are read once."""
    component = checkpoint.component(label)
    found: dict[str, str] = {}
    for name in component.tensors:
        entry = component.tensors[name]
        same = found.get(entry.alias_of) if entry.alias_of else None
        found[name] = same or digest_tensor(checkpoint, component.label, name, entry)
    return Fingerprint(of_digests(found), found)


def of_digests(tensors: dict[str, str]) -> str:
    """The digest of a component from those of its tensors: 32 hexadecimal digits."""
    import xxhash

    root = xxhash.xxh3_128()
    for name in sorted(tensors):
        encoded = name.encode("utf-8", "surrogatepass")
        root.update(len(encoded).to_bytes(8, "little") + encoded + tensors[name].encode())
    return str(root.hexdigest())
