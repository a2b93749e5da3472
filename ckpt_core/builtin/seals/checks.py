"""Checks a checkpoint against its seal.

The files are compared at every depth, their bytes from the bytes depth on.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from ckpt_core.errors import CorruptError
from ckpt_core.reading.casting.recorded import uncast_scales
from ckpt_core.reading.checkpoints import places
from ckpt_core.reading.digests import digest_tensor
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.side_files.seal_findings import UNLIKE_HINT, stale_files, unlike_block
from ckpt_core.schema.side_files.seals import DIGEST_BYTES, Seal
from ckpt_core.schema.text import printable
from ckpt_core.storage.digests import BLOCK, block_digest
from ckpt_core.storage.sealing import is_of_another, read_seal, seal_beside

_SHOWN = 8
"""Damaged blocks that are named of one file; the rest are counted."""


def check_seal(files: Files) -> Iterator[Finding]:
    """Yield findings about files that differ from the seal.

    Names and sizes are compared. What the seal records of scales that were not cast is yielded too.

    Raises:
        CorruptError: SL005, the seal cannot be read.
    """
    seal = seal_beside(files)
    if seal is None:
        return
    if is_of_another(files, seal):
        message = "the seal is of another version of the object: it counts as unsealed"
        hint = "look who replaced it; where it is what you want, run ckpt seal --force"
        yield Finding("WR003", Severity.INFO, message, next(iter(seal.objects)), None, hint)
        return
    yield from _stale(files, seal)
    yield from uncast_scales(seal)


class SealedBlocks:
    """Compares blocks of sealed files with the seal during a walk.

    Attributes:
        paths: The files to walk over: sealed, there, and of the sealed size.
    """

    def __init__(self, files: Files) -> None:
        try:
            self._seal = read_seal(files)
        except CorruptError:
            self._seal = None  # which `check_seal` says
        sealed = self._seal.files if self._seal is not None else {}
        self.paths = [path for path in sealed if path in files.entries and files.size(path) == sealed[path].size]
        self._unlike: dict[str, set[int]] = {path: set(range(_count(sealed[path].blocks))) for path in self.paths}

    def see(self, path: str, number: int, data: memoryview) -> None:
        """Compare a block with its sealed digest.

        Blocks that are never seen count as damaged: they could not be read.
        """
        assert self._seal is not None
        sealed = self._seal.files[path].blocks[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
        if block_digest(data) == sealed:
            self._unlike[path].discard(number)

    def findings(
        self, checkpoint: Checkpoint | None, *, tried: Mapping[str, set[int]] | None = None
    ) -> Iterator[Finding]:
        """Yield SL002 for the blocks that differ from the seal.

        It names the tensors in them that differ as well.

        Args:
            checkpoint: Where the tensors are looked for: each is read whole. None names blocks only.
            tried: The blocks that were to be read, where it was not all of them.
        """
        for path in self.paths:
            assert self._seal is not None
            unlike = self._unlike[path] if tried is None else self._unlike[path] & tried.get(path, set())
            yield from _damage(checkpoint, path, self._seal, sorted(unlike))


def _count(blocks: bytes) -> int:
    return len(blocks) // DIGEST_BYTES


def _stale(files: Files, seal: Seal) -> Iterator[Finding]:
    yield from stale_files(files, seal)
    for path in files.entries:
        if path not in seal.files:
            message = f"{printable(path)}: came after the sealing, nothing is known of it"
            yield Finding("SL004", Severity.WARNING, message, path)


def _damage(checkpoint: Checkpoint | None, path: str, seal: Seal, digests: list[int]) -> Iterator[Finding]:
    changed = cache(lambda label, name: _is_changed(checkpoint, label, name, seal))
    for number in digests[:_SHOWN]:
        start, end = number * BLOCK, min((number + 1) * BLOCK, seal.files[path].size)
        names = [name for label, name in _tensors_in(checkpoint, path, start, end) if changed(label, name)]
        yield unlike_block(path, number, start, end, names)
    if len(digests) > _SHOWN:
        message = f"{printable(path)}: {len(digests) - _SHOWN} more blocks are not what was sealed"
        yield Finding("SL002", Severity.ERROR, message, path, None, UNLIKE_HINT)


def _tensors_in(checkpoint: Checkpoint | None, path: str, start: int, end: int) -> list[TensorKey]:
    """Return the tensors with a part in a stretch of a file."""
    if checkpoint is None:
        return []
    return [
        (component.label, name)
        for component in checkpoint.manifest.components
        for name, info in component.tensors.infos()
        if any(at < end and stop > start for where, at, stop in places(component, name, info) if where == path)
    ]


def _is_changed(checkpoint: Checkpoint | None, label: str, name: str, seal: Seal) -> bool:
    """Return True if a tensor differs from the sealed one.

    It is read whole to tell.
    """
    assert checkpoint is not None
    entry = checkpoint.manifest.component(label).tensors[name]
    return seal.tensors.get(label, {}).get(name) != digest_tensor(checkpoint, label, name, entry)
