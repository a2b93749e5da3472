"""Weights that are NaN or infinite, found before they are saved.

Large ones are read in shares, small ones put together.
"""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import CorruptError
from ckpt_core.layouts.in_memory import LiveCheckpoint
from ckpt_core.reading.values import NonFinite
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.text import printable
from ckpt_core.storage.workers import run, stretches

_CHECKED = ("model", "ema")


class _Part(NamedTuple):
    """Numbers of one type that lie one after the other.

    They are at an address, or in memory of their own.
    """

    dtype: DType
    nbytes: int
    address: int
    copy: bytes = b""


def refuse_not_finite(checkpoint: LiveCheckpoint, step: int) -> None:
    """CorruptError (TR001) where a weight is NaN or infinite."""
    addresses = checkpoint.addresses()
    if addresses is not None:
        parts = list(_parts(checkpoint, addresses))
        if not any(run(_odd, stretches(parts, [part.nbytes for part in parts]))):
            return
    for component in checkpoint.manifest.components:
        if component.kind not in _CHECKED:
            continue
        for name, info in component.tensors.infos():
            seen = NonFinite(info.dtype)
            for _, data in checkpoint.stream(component.label, name):
                seen.update(data)
            if seen.nan or seen.inf:
                what = f"{seen.nan} values are NaN and {seen.inf} infinite at step {step}"
                raise CorruptError(
                    f"{component.label}, {printable(name)}: {what}; nothing was saved; go back to the last checkpoint, "
                    f"or save all the same with {argument('finite', 'ignore')}",
                    code="TR001",
                    tensor=name,
                )


def _parts(checkpoint: LiveCheckpoint, addresses: Mapping[TensorKey, int]) -> Iterator[_Part]:
    """Yield the numbers of all weights in parts of about a slab.

    A call costs more than looking at few numbers.
    """
    slab = knobs.slab_bytes() // 16 * 16  # no number is cut
    small: dict[DType, list[bytes]] = {}
    for component in checkpoint.manifest.components:
        if component.kind not in _CHECKED:
            continue
        for name, info in component.tensors.infos():
            address, nbytes = addresses[component.label, name], info.nbytes
            if nbytes < slab:
                small.setdefault(info.dtype, []).append(ctypes.string_at(address, nbytes))
            else:
                yield from (_Part(info.dtype, min(slab, nbytes - at), address + at) for at in range(0, nbytes, slab))
    for dtype, copies in small.items():
        joined = b"".join(copies)
        yield _Part(dtype, len(joined), 0, joined)


def _odd(parts: Sequence[_Part]) -> bool:
    for part in parts:
        seen = NonFinite(part.dtype)
        seen.update(memoryview(part.copy or (ctypes.c_char * part.nbytes).from_address(part.address)).cast("B"))
        if seen.nan or seen.inf:
            return True
    return False
