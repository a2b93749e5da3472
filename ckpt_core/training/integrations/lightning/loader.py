"""The data of a Trainer by keys, and its position.

A Trainer that does not know how long its data is asks for one batch more than it trains with, and leaves the last pass
of a loader that has a length without asking for its end. So positions are kept by the number of the batch.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.training.data.exact_loader import ExactLoader
from ckpt_core.training.data.iterable_loader import IterableLoader
from ckpt_core.training.data.keyed_loader import KeyedLoader

_OPTIONS = ("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "persistent_workers")
_END = object()


def exact_loader(given: Any, seed: int) -> ExactLoader:
    """Return a loader of the same data, exact after a stop.

    One that is so already is taken as it is.

    Raises:
        UsageError: The data has an order or a position that cannot be had again.
    """
    from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

    if isinstance(given, ExactLoader):
        return given
    name = type(given).__name__
    if not isinstance(given, DataLoader):
        raise UsageError(f"a {name} of training data has a position that is not known; give one torch DataLoader")
    if given.batch_size is None:
        raise UsageError("a DataLoader without a batch_size has an order that is not known; give it a batch_size")
    if not getattr(given, "in_order", True):
        raise UsageError("in_order=False: batches come in another order each time; leave it out")
    options = {name: getattr(given, name) for name in _OPTIONS}
    options |= {"prefetch_factor": given.prefetch_factor} if given.num_workers else {}
    options |= {"drop_last": given.drop_last, "collate_fn": given.collate_fn}
    if isinstance(given.dataset, IterableDataset):
        return IterableLoader(given.dataset, given.batch_size, seed=seed, **options)
    sampler = given.sampler
    plain = type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(given.dataset)
    if type(given.batch_sampler) is not BatchSampler or not (plain or type(sampler) is SequentialSampler):
        other = type(sampler if type(given.batch_sampler) is BatchSampler else given.batch_sampler).__name__
        raise UsageError(f"the order of a {other} cannot be had again; give shuffle=True or False, and no sampler")
    return KeyedLoader(given.dataset, given.batch_size, seed=seed, shuffle=plain, **options)


def watched(loader: ExactLoader, between: Callable[[], None]) -> "WatchedLoader":
    """Return a loader for a Trainer.

    It has a length where the data has one.
    """
    return SizedLoader(loader, between) if hasattr(loader, "__len__") else WatchedLoader(loader, between)


class WatchedLoader:
    """Batches of a loader, and its positions behind the last ones.

    Args:
        loader: Gives the batches.
        between: Is called before each batch is asked for, and before each epoch: all of a step is done then.

    Attributes:
        epoch: As the Trainer counts, from 0.
    """

    def __init__(self, loader: ExactLoader, between: Callable[[], None]) -> None:
        self.loader = loader
        self.epoch = 0
        self._between = between
        self._given = 0
        self._behind = {0: loader.state_dict()}

    @property
    def sampler(self) -> "WatchedLoader":
        """This loader: a Trainer tells the epoch to a loader's sampler."""
        return self

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            self._between()
            batch = next(batches, _END)
            if batch is _END:
                return
            self._given += 1
            self._behind[self._given] = self.loader.state_dict()
            self._behind.pop(self._given - 3, None)
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, unless it is the one that is under way."""
        self.move_to(epoch)
        self._between()

    def move_to(self, epoch: int) -> None:
        """Be at the beginning of an epoch.

        Nothing is done where it is the one that is under way.
        """
        if epoch != self.epoch:
            self.loader.set_epoch(epoch)
            self._at(epoch, 0)

    def behind(self, batches: int) -> Mapping[str, Any]:
        """Return where the loader was behind so many batches of this epoch."""
        return self._behind[batches]

    def go_on(self, state: Mapping[str, Any], batches: int) -> None:
        """Go on behind so many batches of an epoch."""
        self.loader.load_state_dict(state)
        self._at(self.loader.epoch, batches)

    def refuse(self, state: Mapping[str, Any]) -> None:
        """LoadRefusedError where other samples or other batches would follow."""
        self.loader.refuse(state)
        for change in self.loader.changes(state):
            raise LoadRefusedError(f"{change}: a Trainer counts its position in batches; set it back")

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position is saved beside the model.

        A Trainer takes a loader without this for inexact.
        """
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Do nothing, as `state_dict`."""

    def _at(self, epoch: int, batches: int) -> None:
        self.epoch, self._given = epoch, batches
        self._behind = {batches: self.loader.state_dict()}


class SizedLoader(WatchedLoader):
    """A loader of data that has a length."""

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # those without are not given here
