"""Statistics of one tensor, in a single pass over slabs.

They are the least, the greatest, the mean, and what is not finite.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpt_core.reading.checkpoints import StoredCheckpoint, read_slabs
from ckpt_core.reading.values import NonFinite, as_numbers
from ckpt_core.schema.dtypes import DType


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of one tensor.

    Least, greatest and mean are of the finite values, None where there are none; the others count NaN, infinite values
    and zeros.
    """

    minimum: float | None
    maximum: float | None
    mean: float | None
    nan: int
    inf: int
    zeros: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "min": self.minimum,
            "max": self.maximum,
            "mean": self.mean,
            "nan": self.nan,
            "inf": self.inf,
            "zeros": self.zeros,
        }


def statistics(checkpoint: StoredCheckpoint, component: str, name: str) -> Statistics | None:
    """Return the statistics of a stored tensor.

    None for complex types and those of which several elements share a byte.
    """
    entry = checkpoint.component(component).tensors[name]
    if entry.dtype.is_complex or not entry.dtype.itemsize:
        return None
    running = _Running(entry.dtype)
    for data in read_slabs(checkpoint, component, name, entry):
        running.update(data)
    return running.result()


class _Running:
    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self._counts = NonFinite(dtype)
        self._low: list[float] = []
        self._high: list[float] = []
        self._sum = 0.0
        self._finite = 0
        self._zeros = 0

    def update(self, data: memoryview) -> None:
        before = self._counts.nan + self._counts.inf
        self._counts.update(data)
        numbers = as_numbers(data, self._dtype)
        if self._counts.nan + self._counts.inf > before:
            numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return
        self._low.append(numbers.min().item())
        self._high.append(numbers.max().item())
        self._sum += float(numbers.sum(dtype=np.float64))
        self._finite += numbers.size
        self._zeros += int(numbers.size - np.count_nonzero(numbers))

    def result(self) -> Statistics:
        counts = self._counts
        if not self._finite:
            return Statistics(None, None, None, counts.nan, counts.inf, self._zeros)
        low, high = float(min(self._low)), float(max(self._high))
        return Statistics(low, high, self._sum / self._finite, counts.nan, counts.inf, self._zeros)
