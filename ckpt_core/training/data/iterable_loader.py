"""A loader of a set that has no numbers, only an order.

Its position is the set's own state, or is found by asking again.

Each sample is made with generators that are seeded with (seed, epoch, worker, how many before it), so that what a set
draws while it is iterated is the same again, in the process of the training or in workers.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.log import Logger
from ckpt_core.training.data.exact_loader import ExactLoader
from ckpt_core.training.data.fingerprints import fingerprint
from ckpt_core.training.data.keyed_random import generator_of

_log = Logger(__name__)

_OURS = ("batch_sampler", "generator", "sampler", "shuffle", "snapshot_every_n_steps")
_WORKERS = -3
"""Takes the place of an epoch in the key of what workers are seeded with."""

_END, _UNASKED = object(), object()
"""No batch comes any more; whether one comes was not asked."""


class IterableLoader(ExactLoader):
    """Batches of an iterable set, the same in every process.

    A process that asks for them again gets the same ones.

    The set says where it is with `state_dict` and `load_state_dict`, as those of `datasets` do; what it draws before
    its first sample has to be in there. Iterating gives the rest of the epoch, and then begins the next one; a pass
    that was broken off goes on where it was.

    Args:
        dataset: Is iterated once an epoch; `set_epoch` is called before, where it has that.
        batch_size: Samples of a batch.
        seed: Decides what each sample draws.
        drop_last: Whether a last batch that is not full is left out.
        accumulate: Batches of which the gradients are added up before the optimizer steps, within an epoch.
        replay: After a stop, ask the set again for the samples that were had, and drop them. For a set without a state
            that gives the same samples in each pass of the same epoch; it takes as long as the samples do.
        collate_fn: Makes a batch of a list of samples; None for torch's own.
        options: Anything else that torchdata's `StatefulDataLoader` takes: `num_workers`, `persistent_workers`, ….

    Attributes:
        epoch: The epoch that is being loaded, from 0.
        accumulated: Batches that were given out since the optimizer's last step.

    Raises:
        UsageError: The set has no state and is not to be replayed, or a state that loses samples; or torchdata is not
            installed.
    """

    FIXED = ("seed", "num_workers", "replay", "drop_last", "fingerprint")
    MAY_CHANGE = ("batch_size", "accumulate")

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        *,
        seed: int,
        drop_last: bool = False,
        accumulate: int = 1,
        replay: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        refuse_without_state(dataset, replay)
        for name in _OURS:
            if name in options:
                raise UsageError(f"{argument(name)}: an IterableLoader has its own; leave it out")
        kind = _stateful_loader()
        from torch.utils.data import default_collate

        from ckpt_core.training.data.keyed_iterable import KeyedIterable, PlacedCollate

        self.dataset = dataset
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.num_workers = int(options.get("num_workers", 0))
        self.epoch = self.accumulated = self.given = 0
        self._fixed = {"seed": seed, "num_workers": self.num_workers, "replay": replay, "drop_last": drop_last}
        self._source = KeyedIterable(dataset, seed, replay)
        self._loader = kind(
            self._source,
            batch_size,
            drop_last=drop_last,
            collate_fn=PlacedCollate(collate_fn or default_collate, seed),
            generator=generator_of(seed, _WORKERS),  # else each pass draws from the training's own
            **options,
        )
        self._pass: Iterator[tuple[Any, Any, bool]] | None = None
        self._position: Any = None

    def __iter__(self) -> Iterator[Any]:
        if self._pass is None:
            self._source.begin(self.epoch)
            self._pass = _batches(self._loader, self._position, ahead=self.accumulate > 1)
        for batch, position, last in self._pass:
            self.given, self._position = self.given + 1, position
            self.accumulated = 0 if last else (self.accumulated + 1) % self.accumulate
            yield batch
        self._pass = self._position = None
        self.epoch, self.accumulated, self.given = self.epoch + 1, 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch.

        Nothing is done where it is the one that is being loaded.
        """
        if epoch != self.epoch:
            self.epoch, self.accumulated, self.given = epoch, 0, 0
            self._pass = self._position = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, and what that depends on."""
        return {
            **self._fixed,
            "fingerprint": fingerprint(self.dataset),
            "epoch": self.epoch,
            "accumulated": self.accumulated,
            "given": self.given,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "position": self._position,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where another loader of the same data was.

        Raises:
            LoadRefusedError: The seed, the number of workers or the data is another; nothing was changed.
        """
        self.refuse(state_dict)
        for change in self.changes(state_dict):
            _log.warning("%s", change)
        self.epoch, self.given = state_dict["epoch"], state_dict["given"]
        self.accumulated = state_dict["accumulated"] % self.accumulate
        self._pass, self._position = None, state_dict["position"]

    def where(self, state_dict: Mapping[str, Any]) -> str:
        """Return the position of a state in words."""
        return f"epoch {state_dict['epoch']}, behind batch {state_dict['given']}"


def _batches(loader: Any, position: Any, *, ahead: bool) -> Iterator[tuple[Any, Any, bool]]:
    """Yield each batch of the rest of an epoch.

    Each comes with the position behind it, and whether it is the last one.

    Which is the last one is known only to who asks for a batch ahead. No reference to the loader of ours is held: its
    workers are to end when it goes, and not when its circle is collected.
    """
    if position is not None:
        loader.load_state_dict(copy.deepcopy(position))
    batches = iter(loader)
    batch = next(batches, _END)
    while batch is not _END:
        behind = copy.deepcopy(loader.state_dict())
        coming = next(batches, _END) if ahead else _UNASKED
        yield batch, behind, coming is _END
        batch = next(batches, _END) if coming is _UNASKED else coming


def refuse_without_state(dataset: Any, replay: bool) -> None:
    """UsageError where the position in a set cannot be had again."""
    name = type(dataset).__name__
    if not hasattr(dataset, "__iter__"):
        raise UsageError(f"{argument('dataset')}: a {name} cannot be iterated; for numbered samples take a KeyedLoader")
    if replay:
        return
    again = (
        f"with {argument('replay', True)} the samples before a stop are asked for again and dropped, which is exact "
    )
    again += "where the set gives the same ones again"
    if not (hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")):
        raise UsageError(f"{argument('dataset')}: a {name} has no state_dict, so that a position is lost; {again}")
    if _has_a_shuffle_buffer(dataset):
        raise UsageError(
            f"{argument('dataset')}: the state of a {name} that is shuffled leaves out the samples in its buffer, "
            f"so that they are lost at a stop; {again}"
        )


def _has_a_shuffle_buffer(dataset: Any) -> bool:
    """Return whether a set of `datasets` shuffles through a buffer.

    Its own documentation says that the buffer is not saved.

    Source: datasets `iterable_dataset.py` (BufferShuffledExamplesIterable, whose inner one is `ex_iterable`).
    """
    inner = getattr(dataset, "_ex_iterable", None)
    for _ in range(100):
        if inner is None:
            return False
        if type(inner).__name__ == "BufferShuffledExamplesIterable":
            return True
        inner = getattr(inner, "ex_iterable", None)
    return False


def _stateful_loader() -> Any:
    try:
        from torchdata.stateful_dataloader import StatefulDataLoader
    except ImportError as error:
        raise UsageError("an IterableLoader needs torchdata; run pip install torchdata") from error
    return StatefulDataLoader
