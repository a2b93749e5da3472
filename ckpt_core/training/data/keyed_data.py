"""A map dataset with keyed order and randomness.

Its order depends on (seed, epoch), its randomness on (seed, epoch, number of a sample).

So nothing of it has to be saved but a position: any number of worker processes gives the same samples, and those that
are skipped are never asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from ckpt_core.training.data.keyed_random import generator_of, key_of, keyed

_ORDER, _COLLATE = -1, -2
"""Take the place of a sample's number in keys: of the order of an epoch, and of putting a batch together."""


class MapDataset(Protocol):
    """A dataset with a length, and a sample under each number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Key(NamedTuple):
    """The number of a sample, and its epoch."""

    epoch: int
    number: int


class KeyedSample(NamedTuple):
    """A sample with its key.

    It is on its way from a dataset to the code that puts batches together.
    """

    key: Key
    value: Any


class KeyedDataset:
    """A dataset that is asked by keys.

    Each sample is made with generators that are seeded with its key.

    Args:
        dataset: Is asked by numbers, one sample at a time. What it draws from generators of its own is not seeded.
        seed: As for the sampler.
    """

    def __init__(self, dataset: MapDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> KeyedSample:
        with keyed(key_of(self.seed, key.epoch, key.number)):
            return KeyedSample(key, self.dataset[key.number])


class KeyedSampler:
    """The keys of an epoch in batches, from a position on.

    Their order depends on (seed, epoch).

    Args:
        length: Number of samples of the dataset.
        batch_size: Samples of a batch.
        seed: Of the order.
        shuffle: Whether there is another order than that of the numbers.
        drop_last: Whether the last batch is left out where it is not full.
        share: The rank, and of how many: each gets its stretch of every batch, so that the order is that of one.

    Attributes:
        epoch: The epoch.
        position: Samples of it that are left out: those that a training has had.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.share = share
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        return self._ends(0)

    def __iter__(self) -> Iterator[list[Key]]:
        order, epoch, start = self.order(self.epoch), self.epoch, self.position
        for at in range(start, start + self._ends(start) * self.batch_size, self.batch_size):
            yield [Key(epoch, number) for number in self._mine(order[at : at + self.batch_size])]

    @property
    def left(self) -> int:
        """Batches of this epoch from the position on."""
        return self._ends(self.position)

    def order(self, epoch: int) -> Sequence[int]:
        """Return the numbers of the samples in the order of an epoch."""
        if not self.shuffle:
            return range(self.length)
        import torch

        order: list[int] = torch.randperm(self.length, generator=generator_of(self.seed, epoch, _ORDER)).tolist()
        return order

    def _mine(self, batch: Sequence[int]) -> Sequence[int]:
        rank, world = self.share
        return batch[len(batch) * rank // world : len(batch) * (rank + 1) // world]

    def _ends(self, start: int) -> int:
        samples = max(self.length - start, 0)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)


class KeyedCollate:
    """The collation of a batch with seeded generators.

    They are seeded with the key of its first sample.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], seed: int) -> None:
        self.collate = collate
        self.seed = seed

    def __call__(self, samples: Sequence[KeyedSample]) -> Any:
        first = samples[0].key
        with keyed(key_of(self.seed, first.epoch, first.number, _COLLATE)):
            return self.collate([sample.value for sample in samples])
