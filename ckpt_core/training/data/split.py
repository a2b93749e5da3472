"""A dataset in two parts, for training and validation.

They are the same in every process with the same seed.
"""

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.log import Logger
from ckpt_core.training.data.fingerprints import fingerprint
from ckpt_core.training.data.keyed_data import MapDataset

_log = Logger(__name__)


class Split:
    """A part of a dataset.

    Attributes:
        dataset: The whole.
        numbers: Those of its samples that are in the part, in the part's order.
        fingerprint: Tells it from a part of another size, seed or dataset; a loader compares it at a resume.
    """

    def __init__(self, dataset: MapDataset, numbers: Sequence[int], fingerprint: str) -> None:
        self.dataset = dataset
        self.numbers = numbers
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int, /) -> Any:
        return self.dataset[self.numbers[index]]


def seeded_split(dataset: MapDataset, validation: float | int = 0.1, *, seed: int = 42) -> tuple[Split, Split]:
    """Return the parts to train on and to validate on.

    After a shuffle that depends on the seed alone.

    Args:
        dataset: Has a length and samples under numbers.
        validation: The second part: a share of all samples between 0 and 1, or a number of samples.
        seed: Of the shuffle.

    Raises:
        UsageError: One of the parts would be empty.
    """
    length = len(dataset)
    size = validation if type(validation) is int else round(length * validation)
    if not 0 < size < length:
        raise UsageError(
            f"{argument('validation', validation)}: of {length} samples that leaves {max(length - size, 0)} to "
            f"train on and {min(max(size, 0), length)} to validate on; each part needs one"
        )
    numbers = list(range(length))
    random.Random(seed).shuffle(numbers)
    _log.info("🎲 Deterministic shuffle with seed=%d", seed)
    _log.info("train/val split: %d to train on, %d to validate on", length - size, size)
    whole = f"{fingerprint(dataset)} {length} {seed} {size}"
    cut = length - size
    return Split(dataset, numbers[:cut], _of(whole, "train")), Split(dataset, numbers[cut:], _of(whole, "validation"))


def _of(whole: str, part: str) -> str:
    return blake2b(f"{whole} {part}".encode(), digest_size=8).hexdigest()
