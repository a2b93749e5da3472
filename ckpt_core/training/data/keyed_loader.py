"""A loader whose position is a few numbers.

They alone say what is loaded next, with any number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.log import Logger
from ckpt_core.training.data.exact_loader import ExactLoader
from ckpt_core.training.data.fingerprints import fingerprint
from ckpt_core.training.data.keyed_data import KeyedCollate, KeyedDataset, KeyedSampler, MapDataset
from ckpt_core.training.data.keyed_random import generator_of

_log = Logger(__name__)

_OURS = ("batch_sampler", "generator", "sampler")
_WORKERS = -3
"""Takes the place of an epoch in the key of what workers are seeded with."""


class KeyedLoader(ExactLoader):
    """Batches of a map dataset, the same in every process.

    A process that asks for them again gets the same ones.

    Iterating gives the rest of the epoch, and then begins the next one; a pass that was broken off goes on where it
    was.

    Args:
        dataset: Has a length and samples under numbers.
        batch_size: Samples of a batch, of all ranks together.
        seed: Decides the order of each epoch and what each sample draws.
        shuffle: Whether the order is another one in each epoch.
        drop_last: Whether a last batch that is not full is left out.
        accumulate: Batches of which the gradients are added up before the optimizer steps, within an epoch.
        collate_fn: Makes a batch of a list of samples; None for torch's own.
        rank: Which of several processes this is, from 0: each gets its stretch of every batch.
        world: How many there are. Another number after a stop gives the same samples in the same batches.
        options: Anything else that `torch.utils.data.DataLoader` takes: `num_workers`, `persistent_workers`, ….

    Attributes:
        epoch: The epoch that is being loaded, from 0.
        position: Samples of it that were given out.
        accumulated: Batches that were given out since the optimizer's last step.

    Raises:
        UsageError: The dataset has no length or no numbers, so that its order cannot be had again; or a batch has
            fewer samples than there are ranks.
    """

    FIXED = ("seed", "shuffle", "samples", "fingerprint")
    MAY_CHANGE = ("batch_size", "drop_last", "accumulate")

    def __init__(
        self,
        dataset: MapDataset,
        batch_size: int = 1,
        *,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        accumulate: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        rank: int = 0,
        world: int = 1,
        **options: Any,
    ) -> None:
        from torch.utils.data import DataLoader, default_collate

        _require_a_map(dataset)
        _refuse_options(options)
        _refuse_empty_shares(len(dataset), batch_size, rank, world, drop_last)
        self.dataset = dataset
        self.accumulate = accumulate
        self.epoch = self.position = self.accumulated = 0
        self._sampler = KeyedSampler(
            len(dataset), batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last, share=(rank, world)
        )
        self._loader: DataLoader[Any] = DataLoader(
            KeyedDataset(dataset, seed),
            batch_sampler=self._sampler,
            collate_fn=KeyedCollate(collate_fn or default_collate, seed),
            generator=generator_of(seed, _WORKERS),  # else each pass draws from the training's own
            **options,
        )

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        sampler = self._sampler
        sampler.epoch, sampler.position = self.epoch, self.position
        left = sampler.left
        for number, batch in enumerate(self._loader, 1):
            self.position = min(self.position + sampler.batch_size, sampler.length)
            self.accumulated = 0 if number == left else (self.accumulated + 1) % self.accumulate
            yield batch
        self.epoch, self.position, self.accumulated = self.epoch + 1, 0, 0

    @property
    def batch_size(self) -> int:
        """Samples of a batch."""
        return self._sampler.batch_size

    @property
    def share(self) -> tuple[int, int]:
        """The rank, and of how many."""
        return self._sampler.share

    @property
    def num_workers(self) -> int:
        """Processes that make samples; 0 for this one."""
        return int(self._loader.num_workers)

    def order(self, epoch: int) -> Sequence[int]:
        """Return the numbers of the samples in the order of an epoch."""
        return self._sampler.order(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch.

        Nothing where it is the one that is being loaded.
        """
        if epoch != self.epoch:
            self.epoch, self.position, self.accumulated = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, and what that depends on."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "accumulated": self.accumulated,
            "seed": self._sampler.seed,
            "shuffle": self._sampler.shuffle,
            "samples": self._sampler.length,
            "batch_size": self._sampler.batch_size,
            "drop_last": self._sampler.drop_last,
            "accumulate": self.accumulate,
            "fingerprint": fingerprint(self.dataset),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where another loader of the same data was.

        Another batch size goes on behind the last sample that was given out, which is logged.

        Raises:
            LoadRefusedError: The seed, the order or the data is another; nothing was changed.
        """
        self.refuse(state_dict)
        for change in self.changes(state_dict):
            _log.warning("%s", change)
        self.epoch, self.position = state_dict["epoch"], state_dict["position"]
        self.accumulated = state_dict["accumulated"] % self.accumulate

    def where(self, state_dict: Mapping[str, Any]) -> str:
        """Return the position of a state in words."""
        return f"epoch {state_dict['epoch']}, sample {state_dict['position']} of {state_dict['samples']}"


def _require_a_map(dataset: object) -> None:
    from torch.utils.data import IterableDataset

    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise UsageError(
            f"{argument('dataset')}: a {type(dataset).__name__} has no samples under numbers, so that a position in it "
            "cannot be found again; give it to an IterableLoader, or make it a dataset with __len__ and __getitem__"
        )


def _refuse_options(options: Mapping[str, Any]) -> None:
    for name in _OURS:
        if name in options:
            raise UsageError(f"{argument(name)}: a KeyedLoader has its own, which follows from the seed; leave it out")


def _refuse_empty_shares(samples: int, batch_size: int, rank: int, world: int, drop_last: bool) -> None:
    if not 0 <= rank < world:
        raise UsageError(f"{argument('rank', rank)}: of {world} ranks one from 0 to {world - 1} is needed")
    last = samples % batch_size if not drop_last else 0
    if batch_size < world or 0 < last < world:
        least = min(batch_size, last or batch_size)
        raise UsageError(
            f"{argument('batch_size', batch_size)}: a batch of {least} samples leaves some of {world} ranks without "
            f"any; give a larger one, or {argument('drop_last', True)}"
        )
