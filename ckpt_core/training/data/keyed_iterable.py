"""An iterable set whose samples are made with seeded generators.

They are seeded with its place in the epoch.

Torch must take it for an iterable set of its own, so that this module imports torch: import it inside of functions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import IterableDataset, get_worker_info

from ckpt_core.training.data.keyed_random import key_of, keyed

_BEGIN, _COLLATE = -1, -2
"""Take the place of a sample's number in keys: of beginning an epoch, and of putting a batch together."""


class Place(NamedTuple):
    """The place of a sample.

    It is an epoch, a worker, and how many samples came before.
    """

    epoch: int
    worker: int
    number: int


class PlacedSample(NamedTuple):
    """A sample with its place.

    It is on its way from a set to the code that puts batches together.
    """

    place: Place
    value: Any


class KeyedIterable(IterableDataset):  # type: ignore[misc]  # torch's types are not followed
    """A set that is iterated once an epoch.

    It goes on where its state says.

    torchdata asks it for its state behind each batch, in the process that iterates it.

    Args:
        dataset: Is iterated.
        seed: Of what each sample draws.
        replay: Find a position by asking again for the samples before it, not by the set's own state.

    Attributes:
        epoch: That of the pass that begins next.
    """

    def __init__(self, dataset: Any, seed: int, replay: bool) -> None:
        self.dataset = dataset
        self.seed = seed
        self.replay = replay
        self.epoch = self._number = 0
        self._ended = False
        self._from: Mapping[str, Any] | None = None

    def __iter__(self) -> Iterator[PlacedSample]:
        place, samples = self._begin()
        while True:
            with keyed(key_of(self.seed, *place)):
                try:
                    value = next(samples)
                except StopIteration:
                    break
            self._number = place.number + 1
            yield PlacedSample(place, value)
            place = place._replace(number=self._number)
        self.epoch, self._number = place.epoch + 1, 0
        self._ended = True  # torchdata asks after a last batch that is not full, when the set has begun anew already

    def begin(self, epoch: int) -> None:
        """Let the next pass be of an epoch, from its beginning."""
        self.epoch, self._from = epoch, None

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the set.

        It is a sample of an epoch; None where the set is at the epoch's end.
        """
        if self._ended:
            return {"epoch": self.epoch - 1, "number": None, "inner": None}
        inner = None if self.replay else self.dataset.state_dict()
        return {"epoch": self.epoch, "number": self._number, "inner": inner}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Begin the next pass where the state says."""
        self._from = state_dict

    def _begin(self) -> tuple[Place, Iterator[Any]]:
        """The place of the sample that comes next, and what gives it."""
        start, self._from = self._from, None
        if start is not None:
            self.epoch = start["epoch"]
        worker = get_worker_info()
        place = Place(self.epoch, 0 if worker is None else worker.id, 0)
        self._ended, self._number = False, 0
        if start is not None and start["number"] is None:
            return place, iter(())
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.epoch)
        with keyed(key_of(self.seed, place.epoch, place.worker, _BEGIN)):
            if start is not None and not self.replay:
                self.dataset.load_state_dict(start["inner"])
            samples = iter(self.dataset)
        self._number = 0 if start is None else start["number"]
        for number in range(self._number) if self.replay else ():
            with keyed(key_of(self.seed, place.epoch, place.worker, number)):
                next(samples, None)
        return place._replace(number=self._number), samples


class PlacedCollate:
    """The collation of a batch with seeded generators.

    They are seeded with the place of its first sample.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], seed: int) -> None:
        self.collate = collate
        self.seed = seed

    def __call__(self, samples: Sequence[PlacedSample]) -> Any:
        with keyed(key_of(self.seed, *samples[0].place, _COLLATE)):
            return self.collate([sample.value for sample in samples])
